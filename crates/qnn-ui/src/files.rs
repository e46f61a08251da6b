//! The files that a visitor chooses or drops, folders with all that is in them. What is in the files is read elsewhere.

use js_sys::{Array, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    DataTransfer, File, FileList, FileSystemDirectoryEntry, FileSystemEntry, FileSystemFileEntry,
};

/// Files taken from one drop, at most: beyond that there are more images than can be used.
const MAX_FILES: usize = 200_000;

/// A file of the visitor.
pub struct Offered {
    /// Its name, with the folders above it where they are known.
    pub path: String,
    pub file: File,
}

/// The files of a chooser, of files or of a folder.
pub fn chosen(list: &FileList) -> Vec<Offered> {
    let files = (0..list.length()).filter_map(|place| list.get(place));
    let offered = files.map(|file| {
        // Empty but in a chooser of folders.
        let path = Reflect::get(&file, &"webkitRelativePath".into());
        let path = path.ok().and_then(|path| path.as_string());
        Offered {
            path: path.filter(|path| !path.is_empty()).unwrap_or(file.name()),
            file,
        }
    });
    offered.collect()
}

/// What a drop holds.
#[derive(Default)]
pub struct Dropped {
    entries: Vec<FileSystemEntry>,
    /// The same where the browser gives no entries, without what is in folders.
    files: Vec<Offered>,
}

/// What a drop holds. To be taken at once: after the event the browser forgets it.
pub fn dropped(transfer: &DataTransfer) -> Dropped {
    let items = transfer.items();
    let entry = |place| {
        items
            .get(place)
            .and_then(|item| item.webkit_get_as_entry().ok().flatten())
    };
    Dropped {
        entries: (0..items.length()).filter_map(entry).collect(),
        files: transfer.files().as_ref().map(chosen).unwrap_or_default(),
    }
}

/// All files of a drop, and of the folders in it. A folder or file that the browser does not open is left out.
pub async fn within(dropped: Dropped) -> Vec<Offered> {
    let mut waiting = dropped.entries;
    if waiting.is_empty() {
        return dropped.files;
    }
    let mut found = Vec::new();
    while let Some(entry) = waiting.pop()
        && found.len() < MAX_FILES
    {
        if entry.is_directory() {
            let directory: FileSystemDirectoryEntry = entry.unchecked_into();
            waiting.append(&mut entries(&directory).await);
        } else {
            let path = entry.full_path().trim_start_matches('/').to_owned();
            let entry: FileSystemFileEntry = entry.unchecked_into();
            let file = promised(|resolve, reject| {
                entry.file_with_callback_and_callback(resolve, reject);
                Ok(())
            });
            if let Ok(file) = file.await {
                let file = file.unchecked_into();
                found.push(Offered { path, file });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// What is in a folder.
async fn entries(directory: &FileSystemDirectoryEntry) -> Vec<FileSystemEntry> {
    let reader = directory.create_reader();
    let mut all = Vec::new();
    loop {
        // A reader gives some at a time, and none when there are no more.
        let some = promised(|resolve, reject| {
            reader.read_entries_with_callback_and_callback(resolve, reject)
        });
        let some: Array = some.await.map(JsCast::unchecked_into).unwrap_or_default();
        if some.length() == 0 {
            return all;
        }
        all.extend(some.iter().map(JsCast::unchecked_into::<FileSystemEntry>));
    }
}

/// What a function of the browser's gives to its first callback; or what it gives to its second.
async fn promised(
    begin: impl Fn(&js_sys::Function, &js_sys::Function) -> Result<(), JsValue>,
) -> Result<JsValue, JsValue> {
    let promise = Promise::new(&mut |resolve, reject| {
        if let Err(error) = begin(&resolve, &reject) {
            // A rejection cannot fail.
            let _ = reject.call1(&JsValue::NULL, &error);
        }
    });
    JsFuture::from(promise).await
}
