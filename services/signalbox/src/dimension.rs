//! What usage is grouped by and budgets are bound to, as people write it.

use std::str::FromStr;

use signalbox_proto::metering::v1::{UsageDimension, UsageFilter};

const NAMES: [(&str, UsageDimension); 9] = [
    ("tenant", UsageDimension::Tenant),
    ("key", UsageDimension::Principal),
    ("team", UsageDimension::Team),
    ("user", UsageDimension::User),
    ("feature", UsageDimension::Feature),
    ("model", UsageDimension::RequestedModel),
    ("target", UsageDimension::Target),
    ("cache", UsageDimension::Cache),
    ("outcome", UsageDimension::Outcome),
];

/// A dimension: one of the names, or `tag:KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dimension {
    pub(crate) of: UsageDimension,
    pub(crate) tag: Option<String>,
    /// As it was written.
    pub(crate) name: String,
}

impl FromStr for Dimension {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.to_owned();
        if let Some(key) = text.strip_prefix("tag:").filter(|key| !key.is_empty()) {
            return Ok(Self { of: UsageDimension::Tag, tag: Some(key.to_owned()), name });
        }
        match NAMES.iter().find(|(known, _)| *known == text) {
            Some((_, of)) => Ok(Self { of: *of, tag: None, name }),
            None => {
                let known: Vec<&str> = NAMES.iter().map(|(known, _)| *known).collect();
                Err(format!("`{text}` is none of {}, tag:KEY", known.join(", ")))
            }
        }
    }
}

/// A value of a dimension: `team=search`, `tag:env=prod`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Only {
    dimension: Dimension,
    value: String,
}

impl Only {
    pub(crate) fn filter(&self) -> UsageFilter {
        UsageFilter {
            dimension: self.dimension.of.into(),
            value: self.value.clone(),
            tag_key: self.dimension.tag.clone(),
        }
    }
}

impl FromStr for Only {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (dimension, value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` has no value; write it as team=search or tag:env=prod"))?;
        Ok(Self { dimension: dimension.parse()?, value: value.to_owned() })
    }
}

/// A filter as it is written.
pub(crate) fn show(filter: &UsageFilter) -> String {
    format!("{}={}", name(filter.dimension(), filter.tag_key.as_deref()), filter.value)
}

/// A dimension as it is written.
pub(crate) fn name(of: UsageDimension, tag: Option<&str>) -> String {
    match (of, tag) {
        (UsageDimension::Tag, Some(key)) => format!("tag:{key}"),
        (of, _) => {
            let name = NAMES.iter().find(|(_, known)| *known == of);
            name.map_or_else(|| of.as_str_name().to_lowercase(), |(name, _)| (*name).to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_dimensions_and_values() {
        for text in ["team=search", "tag:env=prod", "key=k=1", "feature="] {
            assert_eq!(show(&text.parse::<Only>().unwrap().filter()), text);
        }
        assert!("teem".parse::<Dimension>().unwrap_err().contains("team"));
        assert!("tag:".parse::<Dimension>().is_err());
        assert!("team".parse::<Only>().unwrap_err().contains("team=search"));
    }
}
