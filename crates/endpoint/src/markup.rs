//! XML that all readers read alike. `s3s` leaves out marked sections and elements with prefixes,
//! which others take for content: who sends them would get something else done than is asked for.

/// Looks at XML as it comes, in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Markup(At);

#[derive(Debug, Default, Clone, Copy)]
enum At {
    /// In text, or in a tag behind its name.
    #[default]
    Elsewhere,
    /// Behind `<` or `</`.
    Opened,
    /// In the name of an element.
    Name,
}

impl Markup {
    /// Takes the next bytes; whether they hold no marked section, comment, declaration of a
    /// document's type, or name with a prefix.
    pub(crate) fn takes(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| self.takes_one(*byte))
    }

    fn takes_one(&mut self, byte: u8) -> bool {
        self.0 = match (self.0, byte) {
            (At::Opened, b'!') | (At::Opened | At::Name, b':') => return false,
            (At::Elsewhere, b'<') | (At::Opened, b'/') => At::Opened,
            (At::Opened, b'?') | (At::Elsewhere, _) => At::Elsewhere,
            (_, b'>' | b'/') => At::Elsewhere,
            (_, byte) if byte.is_ascii_whitespace() => At::Elsewhere,
            _ => At::Name,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_readers_differ_about_is_found_however_it_is_cut() {
        let good = "<?xml version=\"1.0\"?>\n<Delete xmlns:a=\"http://b\"><Object a:c='d'>\
                    <Key>a:b!</Key><Quiet/></Object></Delete>";
        let bad = [
            "<Delete><Key>a<![CDATA[b]]></Key></Delete>",
            "<Delete><Key>a<!-- b --></Key></Delete>",
            "<!DOCTYPE a><Delete/>",
            "<Delete><a:Key>b</a:Key></Delete>",
            "<Delete><Key>b</a:Key></Delete>",
        ];
        for size in 1..good.len() {
            let takes = |text: &str| {
                let mut markup = Markup::default();
                text.as_bytes()
                    .chunks(size)
                    .all(|piece| markup.takes(piece))
            };
            assert!(takes(good), "{size}");
            for bad in bad {
                assert!(!takes(bad), "{size} {bad}");
            }
        }
    }
}
