//! The page of an experiment: it holds everything, loads nothing, and says the same on any number
//! of threads.

use clap::Parser;
use pagelab::cli::Cli;
use pagelab::experiment::{Results, carry_out, html};
use pagelab::metric;
use pagelab::plan::{Design, Plan};

fn results(words: &str) -> Results {
    let words = ["pagelab", "compare", "--html", "x"].into_iter().chain(words.split_whitespace());
    let cli = Cli::try_parse_from(words).expect("words that clap accepts");
    carry_out(&Plan::new(&cli).expect("a possible plan"), None).expect("it runs")
}

fn page(results: &Results) -> String {
    let mut out = Vec::new();
    html::write(results, &mut out).expect("a vector takes everything");
    String::from_utf8(out).expect("text")
}

const SMALL: &str = "--workload phone --memory 256MiB --ticks 40";

/// Names of elements that are open at the end, or closed without being open.
fn unbalanced(page: &str) -> Vec<String> {
    const EMPTY: [&str; 3] = ["meta", "br", "!DOCTYPE"];
    let mut open: Vec<&str> = Vec::new();
    for part in page.split('<').skip(1) {
        let (tag, _) = part.split_once('>').unwrap_or((part, ""));
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap_or_default();
        if tag.ends_with('/') || EMPTY.contains(&name) {
            continue;
        }
        match (tag.strip_prefix('/'), open.last()) {
            (None, _) => open.push(name),
            (Some(_), Some(last)) if *last == name => _ = open.pop(),
            (Some(_), _) => return vec![format!("</{name}> ends {:?}", open.last())],
        }
    }
    open.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_page_names_everything_and_loads_nothing() {
    let results = results(&format!("--designs all {SMALL} --tagged 0,30,100% --seeds 2"));
    let page = page(&results);
    for design in Design::ALL {
        assert!(page.contains(&format!("<th scope=\"row\">{design}</th>")), "{design}");
    }
    for metric in metric::ALL {
        assert!(page.contains(metric.name), "{}", metric.name);
    }
    let namespace = "http://www.w3.org/2000/svg";
    for load in ["http:", "https:", "<script", "url(", "<link", "<img", "@import"] {
        assert!(!page.replace(namespace, "").contains(load), "{load}");
    }
    // For each design five maps, and a panel in each chart; what never happened has none.
    let charts = 6 - page.matches("Nothing to show").count();
    assert_eq!(page.matches("class=\"map\"").count(), 5 * Design::ALL.len());
    let described = page.matches("<svg role=\"img\" aria-label=\"").count();
    assert_eq!(described, (charts + 5) * Design::ALL.len());
    // A design whose tags never claim memory says so instead of an empty panel.
    assert!(page.contains("tags never claim memory") && page.contains("no claims, or too few"));
    assert_eq!(unbalanced(&page), Vec::<String>::new());
    // No placeholder of a colour is left.
    assert!(!page.contains("\"#0") && page.contains("var(--own)"));
    assert!(page.len() < 5 << 20);
}

#[test]
fn threads_change_nothing() {
    let run = |threads| {
        let words = format!("--designs carveout,cma-v3 {SMALL} --tagged 30% --threads {threads}");
        page(&results(&words))
    };
    assert!(run(1) == run(2));
}

#[test]
fn one_share_one_seed_and_traces_have_a_page() {
    for words in ["--designs carveout,cma-v3", "--designs cma-v3 --tagged 5%"] {
        let page = page(&results(words));
        assert_eq!(unbalanced(&page), Vec::<String>::new(), "{words}");
        assert!(page.contains("of one seed") && page.contains("Nothing to show"), "{words}");
        // A single share is no axis: no scale around it is made up.
        assert!(!["\n-1\n", "\n-0\n"].iter().any(|label| page.contains(label)), "{words}");
    }
}

#[test]
fn names_are_text() {
    let mut results = results(&format!("--designs cma-v3 {SMALL} --tagged 30%"));
    results.preface = "<script>alert('&\"')</script>".to_owned();
    let page = page(&results);
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
    assert_eq!(unbalanced(&page), Vec::<String>::new());
}

#[test]
fn canary_an_element_that_stays_open() {
    assert_eq!(unbalanced("<p><b>x</p>"), ["</p> ends Some(\"b\")"]);
    assert_eq!(unbalanced("<p>x"), ["p"]);
    assert_eq!(unbalanced("<p>x<rect/></p>"), Vec::<String>::new());
}

/// The design that claims everything at once, before the first moment of a run, is not forgotten.
#[test]
fn the_claims_of_the_first_moment_are_shown() {
    let page = page(&results(&format!("--designs grab-all {SMALL} --tagged 30%")));
    assert!(!page.contains("no claims, or too few"));
}
