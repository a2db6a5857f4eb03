//! Texts of rules and sets. They are long, and change seldom: the state names them, and each is kept in a file of its own.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text, which states that differ in something else share.
#[derive(Clone, Debug)]
pub struct Text {
    name: String,
    own: Arc<str>,
    /// True if it was read from its file, and so need not be written.
    kept: bool,
}

impl Text {
    /// By what it is known: the same for the same text.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text that this one's name stands for, read from its file.
    #[must_use]
    pub fn with(&self, text: String) -> Self {
        Self {
            name: self.name.clone(),
            own: text.into(),
            kept: true,
        }
    }

    /// True if it was read from its file.
    pub fn is_kept(&self) -> bool {
        self.kept
    }
}

impl<T: Into<Arc<str>>> From<T> for Text {
    fn from(text: T) -> Self {
        let text = text.into();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self {
            name: format!("{:016x}", hasher.finish()),
            own: text,
            kept: false,
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.own
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.own, &other.own) || self.own == other.own
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// As its name.
impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

/// As it is written, for whoever reads the state to replace names by what they stand for.
impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(Self {
            name,
            own: "".into(),
            kept: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_written_as_its_name() {
        let text = Text::from("*filter\n");
        let written = serde_json::to_string(&text).unwrap();
        assert_eq!(written, format!("\"{}\"", text.name()));
        let read: Text = serde_json::from_str(&written).unwrap();
        assert_eq!((read.name(), &*read), (text.name(), ""));
        assert_eq!(Text::from("*filter\n".to_owned()), text);
        assert_ne!(Text::from("*nat\n").name(), text.name());
    }
}
