//! Replay ids on the wire: a big-endian number, which clients take as opaque bytes.
//!
//! Recorded ones (pozil/pub-sub-api-node-client 36, pozil/pub-sub-api-java-client 6) are ten bytes long: eight of the
//! number and two zeros. Clients also send the number alone, and that is accepted.

use crate::settings::Settings;

pub(super) fn replay_bytes(id: u64, settings: &Settings) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.resize(usize::from(settings.replay_id_bytes).max(bytes.len()), 0);
    bytes
}

/// The number in the bytes; `None` when they are none that an org gave out.
pub(super) fn replay_id(bytes: &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    matches!(rest, [] | [0, 0]).then(|| u64::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::{replay_bytes, replay_id};
    use crate::settings::Settings;

    #[test]
    fn a_replay_id_is_read_in_both_lengths_and_in_no_other() {
        let recorded = [0, 0, 0, 0, 0, 16, 219, 77, 0, 0];
        assert_eq!(replay_id(&recorded), Some(1_104_717));
        assert_eq!(replay_bytes(1_104_717, &Settings::default()), recorded);
        assert_eq!(replay_id(&recorded[..8]), Some(1_104_717));
        for wrong in [&recorded[..9], &recorded[..7], &[], &[0, 0, 0, 0, 0, 16, 219, 77, 0, 1]] {
            assert_eq!(replay_id(wrong), None);
        }
    }
}
