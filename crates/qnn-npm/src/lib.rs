//! `qnn-infer` for JavaScript: a file's bytes and the network in them, kept together. `package/` beside it makes an npm
//! package of it: what JavaScript can do better, fetching and reading names, is done there.

use qnn_infer::Network;
use self_cell::self_cell;
use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;

self_cell!(
    /// The bytes of a file, and the network that borrows them.
    struct File {
        owner: Vec<u8>,
        #[covariant]
        dependent: Network,
    }
);

/// A network that answers.
#[wasm_bindgen]
pub struct PackedNetwork {
    file: File,
    /// What the network works in.
    buffer: Vec<u64>,
    /// `[classes]`.
    scores: Vec<i32>,
}

#[wasm_bindgen]
impl PackedNetwork {
    /// The network in the bytes of a safetensors file.
    ///
    /// # Errors
    /// Where there is none, or it is damaged.
    #[wasm_bindgen(constructor)]
    pub fn new(file: Vec<u8>) -> Result<PackedNetwork, JsError> {
        let file = File::try_new(file, |bytes| Network::parse(bytes))?;
        let network = file.borrow_dependent();
        let (words, classes) = (network.buffer_words(), network.classes());
        Ok(PackedNetwork {
            file,
            buffer: vec![0; words],
            scores: vec![0; classes],
        })
    }

    /// Pixels of an image.
    pub fn inputs(&self) -> usize {
        self.file.borrow_dependent().inputs()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.scores.len()
    }

    /// The class of the largest score, of equals the first, for the pixels of one image, `[inputs]`; fills `logits`,
    /// `[classes]`.
    ///
    /// # Errors
    /// Where there is another number of pixels.
    pub fn predict(&mut self, pixels: &[u8], logits: &mut [f32]) -> Result<usize, JsError> {
        let network = self.file.borrow_dependent();
        network.scores(pixels, &mut self.buffer, &mut self.scores)?;
        for (logit, score) in logits.iter_mut().zip(&self.scores) {
            *logit = *score as f32 * network.score_unit();
        }
        let mut best = 0;
        for (class, score) in self.scores.iter().enumerate() {
            if *score > self.scores[best] {
                best = class;
            }
        }
        Ok(best)
    }
}
