//! One shape for both forms: fields with names, in their order, that hold fields or text.

use serde_json::Value;

/// How deep a configuration may be; S3's is five.
const DEPTH_MAX: usize = 16;

/// A node of either form. What XML repeats and JSON puts into a list is there several times.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tree {
    Text(String),
    Fields(Vec<(String, Tree)>),
}

impl Tree {
    /// Reads XML or JSON, whichever it is.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('<') {
            // Document types are refused, and with them entities that grow.
            let document = roxmltree::Document::parse(text).map_err(|error| error.to_string())?;
            return of_xml(document.root_element(), 0);
        }
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        of_json(&value, 0)
    }

    pub(super) fn fields(&self) -> &[(String, Self)] {
        match self {
            Self::Fields(fields) => fields,
            Self::Text(_) => &[],
        }
    }

    /// Every field with one of these names.
    pub(super) fn all<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a Self> {
        let fields = self.fields().iter();
        fields
            .filter(|(name, _)| names.contains(&&**name))
            .map(|(_, field)| field)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let mut fields = self.fields().iter();
        fields
            .find(|(known, _)| known == name)
            .map(|(_, field)| field)
    }

    /// The text at the end of a path.
    pub(super) fn text(&self, path: &[&str]) -> Option<&str> {
        let end = path.iter().try_fold(self, |tree, name| tree.get(name))?;
        match end {
            Self::Text(text) => Some(text),
            Self::Fields(fields) if fields.is_empty() => Some(""),
            Self::Fields(_) => None,
        }
    }
}

fn too_deep() -> String {
    format!("more than {DEPTH_MAX} levels")
}

fn of_xml(node: roxmltree::Node<'_, '_>, depth: usize) -> Result<Tree, String> {
    if depth > DEPTH_MAX {
        return Err(too_deep());
    }
    let mut fields = Vec::new();
    for child in node.children().filter(roxmltree::Node::is_element) {
        fields.push((
            child.tag_name().name().to_owned(),
            of_xml(child, depth + 1)?,
        ));
    }
    // In pieces where a comment stands between.
    let texts = node.children().filter(roxmltree::Node::is_text);
    let text: String = texts.filter_map(|piece| piece.text()).collect();
    match fields.is_empty() && !text.is_empty() {
        true => Ok(Tree::Text(text)),
        false => Ok(Tree::Fields(fields)),
    }
}

fn of_json(value: &Value, depth: usize) -> Result<Tree, String> {
    if depth > DEPTH_MAX {
        return Err(too_deep());
    }
    let mut fields = Vec::new();
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::Array(items) => {
                        for item in items {
                            fields.push((name.clone(), of_json(item, depth + 1)?));
                        }
                    }
                    other => fields.push((name.clone(), of_json(other, depth + 1)?)),
                }
            }
        }
        Value::String(text) => return Ok(Tree::Text(text.clone())),
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) => return Ok(Tree::Text(value.to_string())),
        Value::Array(_) => return Err("a list in a list".to_owned()),
    }
    Ok(Tree::Fields(fields))
}
