//! What images, sounds and documents cost, by the providers' formulas.
//!
//! Sources: OpenAI's guide to images and vision (tiles of 512 pixels, or patches of 32), Anthropic's on vision, Google's on tokens.

use super::{
    family::Family,
    prompt::{Detail, Media},
};

/// Assumed of an image whose size nobody here can tell.
const USUAL: (u32, u32) = (1_024, 1_024);
/// Assumed of a sound or video without a known length.
const USUAL_MS: u64 = 30_000;
/// Bytes of a document that make a page.
const PAGE_BYTES: u64 = 50_000;
/// Tokens of a page, as text and image.
const PAGE: u64 = 2_000;

/// Tokens of a medium for a model.
pub(super) fn tokens(family: Family, model: &str, medium: &Media) -> u64 {
    match medium {
        Media::Image { size, detail } => {
            let (width, height) = size.unwrap_or(USUAL);
            let size = (u64::from(width.max(1)), u64::from(height.max(1)));
            image(family, model, size, *detail)
        }
        // Google: 32 tokens a second; OpenAI: ten for each second of speech.
        Media::Audio(ms) => {
            let per_second = if matches!(family, Family::Gemini | Family::Gemini2) { 32 } else { 10 };
            ms.unwrap_or(USUAL_MS).saturating_mul(per_second).div_ceil(1_000)
        }
        Media::Document(bytes) => {
            let page = if matches!(family, Family::Gemini | Family::Gemini2) { 258 } else { PAGE };
            bytes.div_ceil(PAGE_BYTES).clamp(1, 1_000) * page
        }
    }
}

fn image(family: Family, model: &str, (width, height): (u64, u64), detail: Detail) -> u64 {
    match family {
        Family::Claude | Family::ClaudeNew => {
            // The longer side is brought down to 1,568 pixels, and the whole to about 1,600 tokens.
            let (width, height) = fit(width, height, 1_568);
            (width * height).div_ceil(750).min(1_600)
        }
        Family::Gemini if model.contains("gemini-3") || model.contains("gemini-4") => match detail {
            Detail::Low => 280,
            _ => 1_120,
        },
        // Small images are one tile, others are cut into tiles of 768 pixels.
        Family::Gemini2 | Family::Gemini | Family::Gemma => {
            if width <= 384 && height <= 384 {
                258
            } else {
                258 * width.div_ceil(768) * height.div_ceil(768)
            }
        }
        Family::GptReasoning | Family::Gpt4o | Family::Gpt4 => openai(model, (width, height), detail),
        Family::Mistral => {
            // Patches of 16 pixels on an image of at most 1,024, a mark for each row.
            let (width, height) = fit(width, height, 1_024);
            (width.div_ceil(16) + 1) * height.div_ceil(16)
        }
        _ => 1_000,
    }
}

/// OpenAI's two ways: patches for the small new models, tiles for the others.
fn openai(model: &str, (width, height): (u64, u64), detail: Detail) -> u64 {
    let is = |parts: &[&str]| parts.iter().any(|part| model.contains(part));
    // Patches of 32 pixels, at most 1,536, times a factor in hundredths.
    let factor = match () {
        () if is(&["gpt-4.1-mini", "gpt-5-mini", "gpt-5.4-mini"]) => Some(162),
        () if is(&["gpt-4.1-nano", "gpt-5-nano"]) => Some(246),
        () if is(&["o4-mini"]) => Some(172),
        () if is(&["gpt-5.2", "gpt-5.4", "gpt-5.5", "gpt-5.6"]) => Some(100),
        () => None,
    };
    if let Some(factor) = factor {
        let patches = (width.div_ceil(32) * height.div_ceil(32)).min(1_536);
        return (patches * factor).div_ceil(100);
    }
    let (base, tile) = match () {
        () if is(&["gpt-4o-mini"]) => (2_833, 5_667),
        () if is(&["gpt-5"]) => (70, 140),
        () if is(&["o1", "o3"]) => (75, 150),
        () if is(&["computer-use"]) => (65, 129),
        () => (85, 170),
    };
    if detail == Detail::Low {
        return base;
    }
    // Into a square of 2,048, then the shorter side down to 768, then tiles of 512.
    let (width, height) = fit(width, height, 2_048);
    let shorter = width.min(height);
    let (width, height) =
        if shorter > 768 { (width * 768 / shorter, height * 768 / shorter) } else { (width, height) };
    base + tile * width.div_ceil(512) * height.div_ceil(512)
}

/// Scales an image down until its longer side has at most so many pixels.
fn fit(width: u64, height: u64, most: u64) -> (u64, u64) {
    let longer = width.max(height);
    if longer <= most {
        (width, height)
    } else {
        ((width * most / longer).max(1), (height * most / longer).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(model: &str, size: (u32, u32), detail: Detail) -> u64 {
        tokens(Family::of(model), model, &Media::Image { size: Some(size), detail })
    }

    #[test]
    fn images_cost_what_the_providers_documents_say() {
        // OpenAI's guide: 1024 × 1024 in high detail is 4 tiles, 2048 × 4096 is 6, low detail is the base alone.
        assert_eq!(image("gpt-4o", (1_024, 1_024), Detail::High), 765);
        assert_eq!(image("gpt-4o", (2_048, 4_096), Detail::High), 1_105);
        assert_eq!(image("gpt-4o", (4_096, 8_192), Detail::Low), 85);
        // 1024 × 1024 is 1,024 patches; large ones are bounded.
        assert_eq!(image("gpt-4.1-mini", (1_024, 1_024), Detail::Auto), 1_659);
        assert_eq!(image("o4-mini", (9_000, 9_000), Detail::Auto), 2_642);
        // Anthropic's guide: 1000 × 1000 is about 1,334 tokens.
        assert_eq!(image("claude-sonnet-4-5", (1_000, 1_000), Detail::Auto), 1_334);
        assert_eq!(image("claude-sonnet-4-5", (200, 200), Detail::Auto), 54);
        assert_eq!(image("claude-sonnet-4-5", (8_000, 8_000), Detail::Auto), 1_600);
        assert_eq!(image("gemini-2.0-flash", (384, 384), Detail::Auto), 258);
        assert_eq!(image("gemini-2.5-pro", (1_000, 700), Detail::Auto), 516);
    }

    #[test]
    fn no_size_overflows() {
        for model in
            ["gpt-4o", "gpt-5-mini", "claude-sonnet-4-5", "gemini-2.0-flash", "mistral-large-latest", "x"]
        {
            assert!(image(model, (u32::MAX, u32::MAX), Detail::High) > 0, "{model}");
            assert!(image(model, (0, 0), Detail::High) > 0, "{model}");
        }
        assert!(tokens(Family::Gemini, "gemini-3-pro", &Media::Audio(Some(u64::MAX))) > 0);
        assert!(tokens(Family::Claude, "claude", &Media::Document(u64::MAX)) > 0);
    }
}
