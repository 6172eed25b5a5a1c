//! What memory can do, besides holding data, and who says so.

use bitflags::bitflags;

bitflags! {
    /// What a range of memory can do, or has to. No Linux counterpart: that every page of the
    /// allocator is as good as every other is a convention there.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Caps: u8 {
        /// Keeps allocation tags (arm64 MTE): 4 bits for 16 bytes.
        const TAG = 1;
        /// May hold private pages of confidential guests (TDX memory).
        const TEE = 1 << 1;
        /// Loses its content with power.
        const VOLATILE = 1 << 2;
        /// Keeps it.
        const PERSISTENT = 1 << 3;
        /// Atomic and exclusive accesses reach it.
        const ATOMICS = 1 << 4;
        /// A guest's tag access to it can be told from others and leaves the guest
        /// (`FEAT_MTE_PERM`, NoTagAccess).
        const NOTAG = 1 << 5;
    }
}

impl Caps {
    /// The lower-case words of [`Caps::from_word`], in the order of the bits.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("tag", Self::TAG),
        ("tee", Self::TEE),
        ("volatile", Self::VOLATILE),
        ("persistent", Self::PERSISTENT),
        ("atomics", Self::ATOMICS),
        ("notag", Self::NOTAG),
    ];

    /// The capability with this name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(name, _)| *name == word).map(|(_, caps)| *caps)
    }
}

impl core::fmt::Display for Caps {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut words = Self::WORDS.iter().filter(|(_, caps)| self.contains(*caps));
        match words.next() {
            None => f.write_str("none"),
            Some((first, _)) => {
                f.write_str(first)?;
                words.try_for_each(|(word, _)| write!(f, ",{word}"))
            }
        }
    }
}

/// Where memory comes from, and with that who vouches for its capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Origin {
    /// The firmware's memory map at boot. Linux: memblock.
    Boot,
    /// A memory device of ACPI, added at run time. Linux: drivers/acpi/acpi_memhotplug.c.
    Acpi,
    /// A region of CXL memory. Linux: drivers/cxl/core/region.c.
    Cxl,
    /// Memory that firmware set apart for a purpose. Linux: `EFI_MEMORY_SP`, drivers/dax/hmem.
    SoftReserved,
    /// A persistent DIMM. Linux: drivers/nvdimm.
    Nvdimm,
    /// A virtual DIMM or virtio-mem of a hypervisor.
    Virtual,
    /// Memory of an accelerator.
    Device,
}
