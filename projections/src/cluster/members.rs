//! What the group's coordinator tells of a member: its address and its partitions.

/// What stands before a node's address in its client id.
const PREFIX: &str = "pulsegate@";

/// The client id of a node that others reach at `address`.
pub(super) fn client_id(address: &str) -> String {
    format!("{PREFIX}{address}")
}

/// The address in a client id; `None` for a stranger.
pub(super) fn address_of(client_id: &str) -> Option<&str> {
    client_id.strip_prefix(PREFIX).filter(|address| !address.is_empty())
}

/// The partitions of `topic` in a member's assignment, as Kafka's consumers write it: a version, then topics each
/// with its partitions, then bytes of the assignor's own. `None` if it is something else.
pub(super) fn partitions_of(assignment: &[u8], topic: &str) -> Option<Vec<i32>> {
    if assignment.is_empty() {
        return Some(Vec::new());
    }
    let mut rest = assignment;
    let _version = i16::from_be_bytes(take(&mut rest)?);
    let topics = u32::from_be_bytes(take(&mut rest)?);
    let mut found = Vec::new();
    for _ in 0..topics {
        let length = usize::from(u16::from_be_bytes(take(&mut rest)?));
        let (name, behind) = rest.split_at_checked(length)?;
        rest = behind;
        let partitions = u32::from_be_bytes(take(&mut rest)?);
        for _ in 0..partitions {
            let partition = i32::from_be_bytes(take(&mut rest)?);
            if name == topic.as_bytes() {
                found.push(partition);
            }
        }
    }
    Some(found)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment(topics: &[(&str, &[i32])]) -> Vec<u8> {
        let mut bytes = vec![0, 1];
        bytes.extend(u32::try_from(topics.len()).unwrap().to_be_bytes());
        for (name, partitions) in topics {
            bytes.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend(u32::try_from(partitions.len()).unwrap().to_be_bytes());
            bytes.extend(partitions.iter().flat_map(|partition| partition.to_be_bytes()));
        }
        bytes.extend([0xff; 4]);
        bytes
    }

    #[test]
    fn an_assignment_is_read_for_its_topic() {
        let bytes = assignment(&[("other", &[7]), ("p.playback", &[0, 3, 11])]);
        assert_eq!(partitions_of(&bytes, "p.playback"), Some(vec![0, 3, 11]));
        assert_eq!(partitions_of(&bytes, "p"), Some(vec![]));
        assert_eq!(partitions_of(&[], "p.playback"), Some(vec![]), "a member that has none yet");
    }

    #[test]
    fn what_breaks_off_is_no_assignment() {
        let bytes = assignment(&[("p.playback", &[0, 3])]);
        let whole = bytes.len() - 4;
        for length in 1..whole {
            assert_eq!(partitions_of(&bytes[..length], "p.playback"), None, "{length} bytes");
        }
        assert_eq!(partitions_of(&[0, 1, 0xff, 0xff, 0xff, 0xff], "p"), None);
    }

    #[test]
    fn a_client_id_names_an_address() {
        assert_eq!(address_of(&client_id("10.0.0.5:8080")), Some("10.0.0.5:8080"));
        assert_eq!(address_of("rdkafka"), None);
        assert_eq!(address_of("pulsegate@"), None);
    }
}
