//! TFRecord, the framing of an event file: each message with its length and checksums.

use crc::{CRC_32_ISCSI, Crc, Table};

/// CRC-32C, of Castagnoli's polynomial.
const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// Appends a record: its length as `u64`, the checksum of those 8 bytes, the message, its checksum; little-endian.
pub(super) fn push(out: &mut Vec<u8>, message: &[u8]) {
    let length = (message.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(checksum(&length).to_le_bytes());
    out.extend(message);
    out.extend(checksum(message).to_le_bytes());
}

/// CRC-32C, masked as TFRecord wants it: turned right by 15 bits, and a constant added. (A checksum of data that holds its
/// own checksum would be no good.)
fn checksum(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// The messages in records, for tests of what was written.
#[cfg(test)]
pub(super) fn messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let length = word(0) as usize;
        assert_eq!((word(4), word(8)), (0, checksum(&bytes[..8])), "length");
        let message = &bytes[12..12 + length];
        assert_eq!(word(12 + length), checksum(message), "message");
        found.push(message.to_vec());
        bytes = &bytes[16 + length..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_crc_32c_masked() {
        // The check value of CRC-32C for these digits, as every catalogue of checksums has it.
        assert_eq!(CRC.checksum(b"123456789"), 0xe306_9283);
        // RFC 3720, appendix B.4: 32 bytes of zeros.
        assert_eq!(CRC.checksum(&[0; 32]), 0x8a91_36aa);
        // 0xe3069283: its low 15 bits, 0x1283, shifted up by 17 are 0x25060000; the rest shifted down by 15 is 0x1c60d.
        // Together 0x2507c60d, and with 0xa282ead8 added 0xc78ab0e5.
        assert_eq!(checksum(b"123456789"), 0xc78a_b0e5);
    }

    #[test]
    fn records_begin_as_those_of_tensorflow() {
        // The first record of every event file of TensorFlow holds 24 bytes: a double with its key, and 13 letters with
        // theirs and their count. So every such file begins with these 12 bytes.
        let mut bytes = Vec::new();
        push(&mut bytes, &[7; 24]);
        assert_eq!(bytes[..12], *b"\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22");
        assert_eq!(bytes[12..36], [7; 24]);
        assert_eq!(bytes.len(), 8 + 4 + 24 + 4);
        // Records follow each other without a gap.
        push(&mut bytes, b"");
        push(&mut bytes, b"abc");
        assert_eq!(messages(&bytes), [vec![7; 24], vec![], b"abc".to_vec()]);
    }
}
