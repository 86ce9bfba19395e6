//! The font of plots, inside the program: a picture looks the same on every machine.
//!
//! A subset of Open Sans (Apache-2.0, `font/LICENCE`).

use std::sync::Once;

use plotters::style::{FontStyle, register_font};

/// Its name.
pub const NAME: &str = "Open Sans";
/// The regular style, as a TrueType file.
pub const REGULAR: &[u8] = include_bytes!("font/OpenSans-Regular.subset.ttf");
/// The bold style.
pub const BOLD: &[u8] = include_bytes!("font/OpenSans-Semibold.subset.ttf");

/// Makes it known to `plotters`, under its name and as the `sans-serif` that charts use where they are told no other.
pub fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        for name in [NAME, "sans-serif"] {
            for (style, bytes) in [(FontStyle::Normal, REGULAR), (FontStyle::Bold, BOLD)] {
                assert!(register_font(name, style, bytes).is_ok(), "the font inside the program is a font");
            }
        }
    });
}
