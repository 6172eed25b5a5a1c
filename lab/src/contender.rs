//! A design on the hardware it is to run on, as one types it: `cma-v3`, `cma-v3+taggable-hw`.

use core::fmt;
use std::sync::Arc;

use pagelab_migrate::tag_storage::catalogue::Design;
use pagelab_migrate::tag_storage::design::{CarveOutTags, TagStorageDesign};
use pagelab_migrate::tag_storage::taggable_hw::{SUFFIX, TaggableHw};

/// One column of a comparison.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Contender {
    /// What is done with tag storage.
    pub design: Design,
    /// Whether tag storage itself may be tagged.
    pub hardware: Hardware,
}

/// What the hardware does with tags of tag storage.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hardware {
    /// It has none: what there is today.
    Today,
    /// It keeps them in a second carve-out.
    Taggable,
}

/// Why words name no contender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoContender {
    /// There is no such design.
    Unknown,
    /// Something else than [`SUFFIX`] behind a design.
    Suffix,
}

impl From<Design> for Contender {
    fn from(design: Design) -> Self {
        Self { design, hardware: Hardware::Today }
    }
}

impl Contender {
    /// The contenders that a word names: one, or with `all` one of each design. `cma` means the
    /// latest of the series.
    ///
    /// # Errors
    ///
    /// [`NoContender`] when it names none.
    pub fn named(word: &str) -> Result<Vec<Self>, NoContender> {
        let (name, hardware) = match word.strip_suffix(SUFFIX) {
            Some(name) => (name, Hardware::Taggable),
            None if word.contains('+') => return Err(NoContender::Suffix),
            None => (word, Hardware::Today),
        };
        let designs = match name {
            "all" => Design::ALL.to_vec(),
            "cma" => vec![Design::CmaV3],
            _ => vec![Design::by_name(name).ok_or(NoContender::Unknown)?],
        };
        Ok(designs.into_iter().map(|design| Self { design, hardware }).collect())
    }

    /// The decisions behind the name.
    #[must_use]
    pub fn build(self) -> Arc<dyn TagStorageDesign> {
        match self.hardware {
            Hardware::Today => self.design.build(),
            Hardware::Taggable => Arc::new(TaggableHw::new(self.design.build())),
        }
    }

    /// Whether tag storage may hold tagged pages.
    #[must_use]
    pub const fn carve_out_tags(self) -> CarveOutTags {
        match self.hardware {
            Hardware::Today => CarveOutTags::Impossible,
            Hardware::Taggable => CarveOutTags::Possible,
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.design.name())?;
        match self.hardware {
            Hardware::Today => Ok(()),
            Hardware::Taggable => f.write_str(SUFFIX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_is_typed() {
        for design in Design::ALL {
            for word in [design.name().to_owned(), format!("{design}{SUFFIX}")] {
                let [contender] = Contender::named(&word).unwrap()[..] else { panic!("one") };
                assert_eq!(contender.to_string(), word);
                assert_eq!(contender.build().name(), word);
                assert_eq!(contender.build().carve_out_tags(), contender.carve_out_tags());
            }
        }
        assert_eq!(Contender::named("cma"), Contender::named("cma-v3"));
        assert_eq!(Contender::named("all+taggable-hw").unwrap().len(), Design::ALL.len());
        assert_eq!(Contender::named("cma+hw"), Err(NoContender::Suffix));
        assert_eq!(Contender::named("zfs+taggable-hw"), Err(NoContender::Unknown));
    }
}
