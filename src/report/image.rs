//! Pixels as a PNG inside a `data:` address, so that the page needs no other file.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use png::{BitDepth, ColorType, Compression, Encoder};

use crate::{Error, Result};

/// `width * height` RGBA pixels, row by row.
pub fn rgba(width: usize, height: usize, pixels: &[u8]) -> Result<String> {
    encode(width, height, pixels, |encoder| {
        encoder.set_color(ColorType::Rgba)
    })
}

/// One colour at `width * height` opacities, row by row: it suits a light and a dark page alike.
pub fn tint(width: usize, height: usize, opacities: &[u8], colour: [u8; 3]) -> Result<String> {
    encode(width, height, opacities, |encoder| {
        encoder.set_color(ColorType::Indexed);
        encoder.set_palette(colour.repeat(256));
        encoder.set_trns((0..=255).collect::<Vec<u8>>());
    })
}

fn encode(
    width: usize,
    height: usize,
    bytes: &[u8],
    format: impl FnOnce(&mut Encoder<&mut Vec<u8>>),
) -> Result<String> {
    let failed = |source: io::Error| Error::io("the report", "encode an image", source);
    let side = |length| u32::try_from(length).map_err(|e| failed(io::Error::other(e)));
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, side(width)?, side(height)?);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::High);
    format(&mut encoder);
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(bytes))
        .map_err(|e| failed(e.into()))?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(address: &str) -> (png::OutputInfo, Vec<u8>) {
        let base64 = address.strip_prefix("data:image/png;base64,").unwrap();
        let file = STANDARD.decode(base64).unwrap();
        let mut decoder = png::Decoder::new(io::Cursor::new(file));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info, pixels)
    }

    #[test]
    fn pixels_survive() {
        let pixels: Vec<u8> = (0..3 * 5 * 4).map(|i| (i * 37 % 256) as u8).collect();
        let (info, read) = decode(&rgba(3, 5, &pixels).unwrap());
        assert_eq!((info.width, info.height), (3, 5));
        assert_eq!(read, pixels);
    }

    #[test]
    fn a_tint_has_one_colour_at_the_given_opacities() {
        let (_, read) = decode(&tint(3, 1, &[0, 128, 255], [10, 20, 30]).unwrap());
        assert_eq!(read, [10, 20, 30, 0, 10, 20, 30, 128, 10, 20, 30, 255]);
    }

    #[test]
    fn an_image_without_pixels_is_an_error() {
        assert!(
            rgba(0, 5, &[])
                .unwrap_err()
                .to_string()
                .starts_with("the report: cannot encode an image")
        );
    }
}
