//! What is answered, as protocol buffers in a frame of gRPC.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

use crate::Document;

/// What there is for whoever asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The documents, the first one being what others would call the default.
    pub documents: Vec<Document>,
    /// The roots of other trust domains, DER, by name.
    pub federated: BTreeMap<String, Vec<Vec<u8>>>,
}

impl From<Document> for Answer {
    fn from(document: Document) -> Self {
        Self {
            documents: vec![document],
            ..Self::default()
        }
    }
}

impl Answer {
    /// `X509SVIDResponse` with its prefix: not compressed, and its length.
    pub(crate) fn frame(&self) -> Bytes {
        let mut message = Vec::new();
        for document in &self.documents {
            let mut svid = Vec::new();
            field(&mut svid, 1, document.id.as_bytes());
            field(&mut svid, 2, &document.chain.concat());
            field(&mut svid, 3, &document.key);
            field(&mut svid, 4, &document.bundle.concat());
            field(&mut message, 1, &svid);
        }
        for (domain, roots) in &self.federated {
            let mut entry = Vec::new();
            field(&mut entry, 1, domain.as_bytes());
            field(&mut entry, 2, &roots.concat());
            field(&mut message, 3, &entry);
        }
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len()).unwrap());
        framed.extend_from_slice(&message);
        framed.freeze()
    }
}

/// A length-delimited field.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}
