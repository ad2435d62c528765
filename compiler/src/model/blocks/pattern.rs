//! Path patterns: at a path's end, `*` is one part, `**` any number of parts.

use super::super::settings::Pattern;

/// Whether a pattern matches a path, given as parts of which each may go by several names (an instance by its own and by its layer's).
pub(crate) fn matches(pattern: &Pattern, path: &[Vec<String>]) -> bool {
    (0..=path.len()).any(|start| all(&pattern.parts, &path[start..]))
}

fn all(parts: &[String], path: &[Vec<String>]) -> bool {
    let Some((part, rest)) = parts.split_first() else { return path.is_empty() };
    match part.as_str() {
        "**" => (0..=path.len()).any(|skip| all(rest, &path[skip..])),
        "*" => !path.is_empty() && all(rest, &path[1..]),
        name => path.first().is_some_and(|names| names.iter().any(|known| known == name)) && all(rest, &path[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<Vec<String>> {
        text.split('.').map(|part| part.split('|').map(str::to_string).collect()).collect()
    }

    fn holds(pattern: &str, text: &str) -> bool {
        let parts = pattern.split('.').map(str::to_string).collect();
        matches(&Pattern { parts, span: None }, &path(text))
    }

    #[test]
    fn a_pattern_matches_at_the_end_of_a_path() {
        assert!(holds("Attention.query", "Gpt.Block.Attention.query"));
        assert!(holds("query", "Gpt.Block.Attention.query"));
        assert!(!holds("Attention", "Gpt.Block.Attention.query"));
        assert!(!holds("Block.query", "Gpt.Block.Attention.query"));
    }

    #[test]
    fn stars_stand_for_parts() {
        assert!(holds("Block.*.query", "Gpt.Block.Attention.query"));
        assert!(holds("Block.**", "Gpt.Block.Attention.query"));
        assert!(!holds("Block.*", "Gpt.Block.Attention.query"));
    }

    #[test]
    fn an_instance_goes_by_its_own_name_and_by_its_layers() {
        assert!(holds("LayerNorm.**", "Gpt.Block.before|LayerNorm.gain"));
        assert!(holds("before.gain", "Gpt.Block.before|LayerNorm.gain"));
        assert!(!holds("after.gain", "Gpt.Block.before|LayerNorm.gain"));
    }
}
