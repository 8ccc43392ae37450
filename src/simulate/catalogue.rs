//! What simulated viewers watch: films, a series, live channels that exist in no real catalogue.

use pulsegate_domain::ids::ContentKind;

/// One film, episode or channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Title {
    /// Its id in events.
    pub(crate) id: &'static str,
    /// Its name for people.
    pub(crate) name: &'static str,
    /// Recorded or live.
    pub(crate) kind: ContentKind,
    /// How long it runs.
    pub(crate) runtime_ms: u64,
}

const fn vod(id: &'static str, name: &'static str, minutes: u64) -> Title {
    Title { id, name, kind: ContentKind::Vod, runtime_ms: minutes * 60_000 }
}

const fn live(id: &'static str, name: &'static str) -> Title {
    Title { id, name, kind: ContentKind::Live, runtime_ms: 24 * 3_600_000 }
}

/// A series in the order of its episodes; autoplay goes through it.
pub(crate) static SERIES: [Title; 6] = [
    vod("marrowgate-lane-s1e1", "Marrowgate Lane, episode 1", 52),
    vod("marrowgate-lane-s1e2", "Marrowgate Lane, episode 2", 50),
    vod("marrowgate-lane-s1e3", "Marrowgate Lane, episode 3", 51),
    vod("marrowgate-lane-s1e4", "Marrowgate Lane, episode 4", 49),
    vod("marrowgate-lane-s1e5", "Marrowgate Lane, episode 5", 53),
    vod("marrowgate-lane-s1e6", "Marrowgate Lane, episode 6", 61),
];

/// Everything else.
pub(crate) static TITLES: [Title; 10] = [
    vod("lamplighter-of-orvessa", "The Lamplighter of Orvessa", 117),
    vod("nine-bells-over-tarnwick", "Nine Bells over Tarnwick", 96),
    vod("salt-cartographers-daughter", "The Salt Cartographer's Daughter", 131),
    vod("postcards-from-undermere", "Postcards from Undermere", 88),
    vod("glasswing-inquiry", "The Glasswing Inquiry", 104),
    vod("kestrel-eleven-is-late", "Kestrel Eleven Is Late", 93),
    vod("a-tuba-in-the-orchard", "A Tuba in the Orchard", 79),
    vod("bramblewick-by-night", "Bramblewick by Night", 99),
    live("tarnwick-sport-live", "Tarnwick Sport Live"),
    live("orvessa-news-live", "Orvessa News Live"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use pulsegate_domain::ids::TitleId;

    #[test]
    fn every_title_has_an_id_that_events_take() {
        for title in TITLES.iter().chain(&SERIES) {
            assert!(title.id.parse::<TitleId>().is_ok(), "{}", title.id);
        }
    }
}
