//! What the page's address says after its `#`: the race, and how it is looked at. A link that is shared carries the whole race,
//! so the networks' seed makes it run again as it ran.

use qnn_protocol::MAX_NETWORKS;
use qnn_protocol::link::{LinkError, from_link, to_link};
use qnn_protocol::spec::NetworkSpec;

use crate::chart::Across;
use crate::controls::DataOption;
use crate::lessons;
use crate::tabs::Tab;

/// A longer address is none of ours, and is not read.
const LONGEST: usize = 4096;

/// All that a link says; what it leaves out is as at every first visit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Address {
    /// The networks; none where the link says nothing of them.
    pub specs: Vec<NetworkSpec>,
    /// The place of the chosen one.
    pub chosen: usize,
    pub data: Option<DataOption>,
    pub tab: Tab,
    pub across: Across,
    pub paused: bool,
    /// The step of the tour that is open, from 0.
    pub lesson: Option<usize>,
}

impl Address {
    /// Reads what stands after the `#`. Parts that are unknown are passed over: a later page may write more.
    pub fn read(hash: &str) -> Result<Address, LinkError> {
        let mut address = Address::default();
        let hash = hash.trim_start_matches('#');
        if hash.len() > LONGEST {
            return Err(LinkError::TooLong);
        }
        for part in hash.split('&') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match name {
                "race" => address.specs = from_link(value, MAX_NETWORKS)?,
                "chosen" => address.chosen = value.parse().unwrap_or(0),
                "data" => address.data = DataOption::named(value),
                "look" => address.tab = Tab::named(value).unwrap_or_default(),
                "across" if value == "seconds" => address.across = Across::Seconds,
                "paused" => address.paused = true,
                "lesson" => address.lesson = lesson_of(value),
                _ => {}
            }
        }
        Ok(address)
    }

    /// What is to stand after the `#`.
    pub fn write(&self) -> String {
        let mut parts = vec![format!("race={}", to_link(&self.specs))];
        if self.chosen > 0 {
            parts.push(format!("chosen={}", self.chosen));
        }
        // Files of the visitor do not travel in a link.
        if let Some(data) = self.data.filter(|data| *data == DataOption::Mnist) {
            parts.push(format!("data={}", data.value()));
        }
        if self.tab != Tab::default() {
            parts.push(format!("look={}", self.tab.value()));
        }
        if self.across == Across::Seconds {
            parts.push("across=seconds".into());
        }
        if self.paused {
            parts.push("paused".into());
        }
        if let Some(lesson) = self.lesson {
            parts.push(format!("lesson={}", lesson + 1));
        }
        parts.join("&")
    }
}

/// The step, from 0, that a link counts from 1.
fn lesson_of(value: &str) -> Option<usize> {
    let number: usize = value.parse().ok()?;
    number
        .checked_sub(1)
        .filter(|lesson| *lesson < lessons::COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::floats;

    #[test]
    fn an_address_is_read_as_it_was_written() {
        let address = Address {
            specs: vec![NetworkSpec::default(), floats(NetworkSpec::default())],
            chosen: 1,
            data: Some(DataOption::Mnist),
            tab: Tab::Bits,
            across: Across::Seconds,
            paused: true,
            lesson: Some(2),
        };
        let hash = address.write();
        assert!(hash.contains("&lesson=3"), "{hash}");
        assert!(hash.len() < 130, "{hash}");
        assert_eq!(Address::read(&format!("#{hash}")), Ok(address));
    }

    #[test]
    fn little_is_as_good_as_nothing_and_nonsense_is_said() {
        assert_eq!(Address::read(""), Ok(Address::default()));
        assert!(Address::read("#paused").unwrap().paused);
        assert_eq!(Address::read("#more=1&<b>").unwrap(), Address::default());
        for none in ["#lesson=0", "#lesson=7", "#lesson=-1", "#lesson"] {
            assert_eq!(Address::read(none), Ok(Address::default()));
        }
        assert!(Address::read("#race=mnist-512_w9").is_err());
        assert!(Address::read(&format!("#race={}", "x".repeat(9999))).is_err());
    }
}
