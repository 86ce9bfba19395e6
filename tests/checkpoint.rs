//! Checkpoints of every layout against the recorded weights, and files that mean harm.
//!
//! The recordings are found through `GLM_EVAL_SHARED` (default `../shared`). Whatever is hostile is made here.
#![allow(clippy::doc_markdown, reason = "PyTorch is a name, not code")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use glm_eval::checkpoint::{self, Checkpoint, CheckpointError};
use glm_eval::model::glm::Config;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// Ends the test run when anything asks for far more memory than a test file has bytes.
struct Thrifty;

const MOST_BYTES: usize = 64 << 20;

// SAFETY: every call is the system allocator's, except that large requests are refused, as an allocator may.
unsafe impl GlobalAlloc for Thrifty {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        if layout.size() > MOST_BYTES { std::ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Thrifty = Thrifty;

/// Reads bytes as a file of that name.
fn read_bytes(name: &str, bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    checkpoint::read(&path)
}

/// The whole chain of messages, as the command line prints it.
fn message(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn refusal(name: &str, bytes: &[u8]) -> String {
    message(&read_bytes(name, bytes).expect_err("it should be refused"))
}

fn glm_eval() -> assert_cmd::Command {
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_glm-eval"))
}

mod recordings {
    use super::*;

    /// A path below the recorded checkpoints; `None`, with a message, where there are none.
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn golden(path: &str) -> Option<PathBuf> {
        let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
        let shared = std::env::var_os("GLM_EVAL_SHARED").map_or(default, PathBuf::from);
        let found = shared.join("golden/glm").join(path);
        if found.exists() {
            return Some(found);
        }
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is missing in CI", found.display());
        eprintln!("skipped: {} is not there; set GLM_EVAL_SHARED", found.display());
        None
    }

    /// Equal names, shapes, types and bits: that is what the digest is made from.
    fn assert_same(found: &BTreeMap<String, Tensor>, expected: &BTreeMap<String, Tensor>) {
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, tensor) in found {
            let one = |tensor: &Tensor| BTreeMap::from([(name.clone(), tensor.clone())]);
            let digests = [tensor, &expected[name]].map(|tensor| checkpoint::sha256(&one(tensor)));
            assert_eq!(digests[0], digests[1], "{name}");
        }
    }

    fn halved(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
        tensors.iter().map(|(name, tensor)| (name.clone(), tensor.to_dtype(DType::F16).unwrap())).collect()
    }

    #[test]
    fn official_checkpoints_have_the_recorded_weights_to_the_bit() {
        for (folder, weights) in [
            ("block_v1000", "block_v1000"),
            ("block_v1000_MP2", "block_v1000"),
            ("noblock_v1000", "noblock_v1000"),
            ("noblock_v1000_MP2", "noblock_v1000"),
        ] {
            let Some(folder) = golden(&format!("checkpoints/{folder}")) else { return };
            let Some(weights) = golden(weights) else { return };
            let (read, recorded) = (checkpoint::read(&folder).unwrap(), checkpoint::read(&weights).unwrap());
            assert_same(&read.tensors, &recorded.tensors);
            assert_eq!(read.sha256, recorded.sha256);
        }
    }

    #[test]
    fn half_precision_checkpoints_have_the_recorded_weights_rounded() {
        for folder in ["block_v1000_deepspeed_fp16", "block_v1000_legacy_serialization"] {
            let Some(folder) = golden(&format!("checkpoints/{folder}")) else { return };
            let Some(weights) = golden("block_v1000") else { return };
            let (read, recorded) = (checkpoint::read(&folder).unwrap(), checkpoint::read(&weights).unwrap());
            assert_same(&read.tensors, &halved(&recorded.tensors));
        }
    }

    #[test]
    fn the_folder_of_the_tag_and_any_rank_file_stand_for_the_whole() {
        let Some(folder) = golden("checkpoints/block_v1000_MP2") else { return };
        let whole = checkpoint::read(&folder).unwrap();
        assert_eq!(whole.layout, checkpoint::Layout::Megatron { ranks: 2 });
        for part in ["1234", "1234/mp_rank_00_model_states.pt", "1234/mp_rank_01_model_states.pt"] {
            assert_eq!(checkpoint::read(&folder.join(part)).unwrap().sha256, whole.sha256);
        }
    }

    #[test]
    fn the_recorded_configurations_fit_their_weights() {
        for folder in ["block_v1000", "noblock_v1000", "block_v30592"] {
            let Some(folder) = golden(folder) else { return };
            let read = checkpoint::read(&folder).unwrap();
            let config = Config::resolve(read.config.as_ref(), &read.tensors, None).unwrap();
            checkpoint::check_weights(&config.parameters(), &read.tensors).unwrap();
            assert_eq!(config, Config::infer(&read.tensors, Some(4)).unwrap());
        }
    }

    #[test]
    fn a_missing_rank_is_noticed_whether_first_or_last() {
        let Some(folder) = golden("checkpoints/block_v1000_MP2/1234") else { return };
        for (kept, complaint) in
            [("00", "copy the files of all ranks"), ("01", "mp_rank_00_model_states.pt is not")]
        {
            let dir = tempfile::tempdir().unwrap();
            let name = format!("mp_rank_{kept}_model_states.pt");
            fs::copy(folder.join(&name), dir.path().join(&name)).unwrap();
            let found = message(&checkpoint::read(dir.path()).unwrap_err());
            assert!(found.contains(complaint), "{found}");
        }
    }

    #[test]
    fn ranks_of_different_checkpoints_are_not_merged() {
        let Some(a) = golden("checkpoints/block_v1000_MP2/1234/mp_rank_00_model_states.pt") else { return };
        let Some(b) = golden("checkpoints/noblock_v1000_MP2/1234/mp_rank_01_model_states.pt") else { return };
        let dir = tempfile::tempdir().unwrap();
        fs::copy(a, dir.path().join("mp_rank_00_model_states.pt")).unwrap();
        fs::copy(b, dir.path().join("mp_rank_01_model_states.pt")).unwrap();
        let found = message(&checkpoint::read(dir.path()).unwrap_err());
        assert!(found.contains("rank 0 has `transformer.block_position_embeddings.weight`"), "{found}");
    }

    /// All lengths near both ends, and some between.
    fn cuts(length: usize) -> impl Iterator<Item = usize> {
        (0..100).chain((100..length).step_by(length / 50)).chain(length - 100..length)
    }

    #[test]
    fn a_file_cut_short_is_refused_at_every_length() {
        for (file, name) in [
            ("checkpoints/block_v1000_deepspeed_fp16/1234/mp_rank_00_model_states.pt", "cut.pt"),
            ("checkpoints/block_v1000_legacy_serialization/1234/mp_rank_00_model_states.pt", "cut.pt"),
            ("block_v1000/weights.safetensors", "cut.safetensors"),
        ] {
            let Some(file) = golden(file) else { return };
            let bytes = fs::read(file).unwrap();
            for length in cuts(bytes.len()) {
                assert!(read_bytes(name, &bytes[..length]).is_err(), "{name} of {length} bytes");
            }
        }
    }

    #[test]
    fn a_flipped_byte_in_an_archive_is_refused_or_changes_nothing() {
        let file = golden("checkpoints/block_v1000_deepspeed_fp16/1234/mp_rank_00_model_states.pt");
        let Some(file) = file else { return };
        let bytes = fs::read(file).unwrap();
        let whole = read_bytes("whole.pt", &bytes).unwrap().sha256;
        // The first record's header, samples of the rest, the whole directory at the end.
        let positions =
            (0..120).chain((120..bytes.len()).step_by(9001)).chain(bytes.len() - 400..bytes.len());
        for position in positions {
            let mut flipped = bytes.clone();
            flipped[position] ^= 0xff;
            if let Ok(read) = read_bytes("flipped.pt", &flipped) {
                assert_eq!(read.sha256, whole, "byte {position}");
            }
        }
    }

    #[test]
    fn a_flipped_byte_in_a_file_without_checksums_is_no_panic() {
        for (file, name) in [
            ("checkpoints/block_v1000_legacy_serialization/1234/mp_rank_00_model_states.pt", "flipped.pt"),
            ("block_v1000/weights.safetensors", "flipped.safetensors"),
        ] {
            let Some(file) = golden(file) else { return };
            let mut bytes = fs::read(file).unwrap();
            for position in (0..7000).step_by(23) {
                for bit in [0x01, 0x80] {
                    bytes[position] ^= bit;
                    let _ = read_bytes(name, &bytes);
                    bytes[position] ^= bit;
                }
            }
        }
    }

    #[test]
    fn convert_writes_the_recorded_weights_and_a_configuration_that_fits() {
        let Some(source) = golden("checkpoints/block_v1000_MP2") else { return };
        let Some(recorded) = golden("block_v1000") else { return };
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("model");
        let convert = |flags: &[&str]| {
            glm_eval()
                .arg("convert")
                .args([&source, &target])
                .args(flags)
                .args(["--num-attention-heads", "4"])
                .assert()
        };
        let done = convert(&[]).success();
        let line = String::from_utf8(done.get_output().stdout.clone()).unwrap();
        let recorded = checkpoint::read(&recorded).unwrap();
        assert!(line.contains("2 ranks; 41 tensors, 222400 parameters, f32; sha256"), "{line}");
        assert!(line.contains(&recorded.sha256) && line.lines().count() == 1, "{line}");

        let written = checkpoint::read(&target).unwrap();
        assert_same(&written.tensors, &recorded.tensors);
        let config = Config::from_json(&written.config.unwrap()).unwrap();
        assert_eq!(config, Config::from_json(&recorded.config.unwrap()).unwrap());

        convert(&[]).code(2); // it exists
        let guessed =
            glm_eval().arg("convert").args([&source, &dir.path().join("guessed")]).assert().success();
        let found = String::from_utf8(guessed.get_output().stderr.clone()).unwrap();
        assert!(found.contains("2 are assumed, of 32 each"), "{found}");
        convert(&["--force", "--dtype", "f16"]).success();
        assert_same(&checkpoint::read(&target).unwrap().tensors, &halved(&recorded.tensors));
    }

    #[test]
    fn convert_refuses_a_configuration_of_another_model() {
        let Some(source) = golden("checkpoints/block_v1000") else { return };
        let Some(config) = golden("noblock_v1000/config.json") else { return };
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("model");
        let done =
            glm_eval().arg("convert").args([&source, &target]).arg("--config").arg(config).assert().code(2);
        let found = String::from_utf8(done.get_output().stderr.clone()).unwrap();
        assert!(found.contains("block_position_encoding is 0 there, 1 here"), "{found}");
        assert!(!target.exists());
    }
}

mod made_here {
    use super::*;

    /// A PyTorch archive with this pickle and these storages.
    fn archive(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        zip.start_file("weights/data.pkl", stored).unwrap();
        zip.write_all(pickle).unwrap();
        for (key, bytes) in storages {
            zip.start_file(format!("weights/data/{key}"), stored).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    /// A tensor as a pickle describes it; the numbers may lie.
    #[derive(Clone, Copy)]
    struct Described {
        name: &'static str,
        class: &'static str,
        key: &'static str,
        numel: i64,
        offset: i64,
        shape: &'static [i64],
        strides: &'static [i64],
    }

    /// `[[0, 1, 2], [3, 4, 5]]`
    const PLAIN: Described = Described {
        name: "w",
        class: "FloatStorage",
        key: "0",
        numel: 6,
        offset: 0,
        shape: &[2, 3],
        strides: &[3, 1],
    };

    fn push_text(out: &mut Vec<u8>, text: &str) {
        out.push(b'X');
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    }

    fn push_int(out: &mut Vec<u8>, value: i64) {
        out.extend(b"\x8a\x08");
        out.extend(value.to_le_bytes());
    }

    /// The pickle of a dictionary of tensors, opcode by opcode as PyTorch writes it.
    fn pickle(tensors: &[Described]) -> Vec<u8> {
        let mut out = b"\x80\x02}(".to_vec();
        for tensor in tensors {
            push_text(&mut out, tensor.name);
            out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
            push_text(&mut out, "storage");
            out.extend(format!("ctorch\n{}\n", tensor.class).as_bytes());
            push_text(&mut out, tensor.key);
            push_text(&mut out, "cpu");
            push_int(&mut out, tensor.numel);
            out.extend(b"tQ");
            push_int(&mut out, tensor.offset);
            for sizes in [tensor.shape, tensor.strides] {
                out.push(b'(');
                for &size in sizes {
                    push_int(&mut out, size);
                }
                out.push(b't');
            }
            out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
        }
        out.extend(b"u.");
        out
    }

    fn floats(count: u16) -> Vec<u8> {
        (0..count).flat_map(|i| f32::from(i).to_le_bytes()).collect()
    }

    /// An archive of these tensors, with the storage `0` of six floats.
    fn six_floats(tensors: &[Described]) -> Vec<u8> {
        archive(&pickle(tensors), &[("0", &floats(6))])
    }

    #[test]
    fn views_with_offsets_and_strides_are_read_out_of_a_shared_storage() {
        let transposed = Described { name: "t", shape: &[3, 2], strides: &[1, 3], ..PLAIN };
        let last_row = Described { name: "r", offset: 3, shape: &[3], strides: &[1], ..PLAIN };
        let scalar = Described { name: "s", offset: 5, shape: &[], strides: &[], ..PLAIN };
        let empty = Described { name: "e", shape: &[0, 4], strides: &[4, 1], ..PLAIN };
        let read =
            read_bytes("weights.bin", &six_floats(&[PLAIN, transposed, last_row, scalar, empty])).unwrap();
        let values = |name: &str| read.tensors[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values("w"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(values("t"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(values("r"), [3.0, 4.0, 5.0]);
        assert_eq!(values("s"), [5.0]);
        assert_eq!((values("e").len(), read.tensors["e"].dims()), (0, &[0, 4][..]));
    }

    #[test]
    fn views_that_leave_their_storage_or_overlap_are_refused() {
        for (tensor, complaint) in [
            (Described { offset: 1, ..PLAIN }, "reach element 6 of a storage of 6"),
            (Described { offset: -1, ..PLAIN }, "-1 as offset, which cannot be negative"),
            (Described { shape: &[2, -3], ..PLAIN }, "-3 as size, which cannot be negative"),
            (Described { strides: &[-3, 1], ..PLAIN }, "-3 as stride, which cannot be negative"),
            (Described { strides: &[3], ..PLAIN }, "sizes [2, 3] with strides [3]"),
            (Described { strides: &[1, 1], ..PLAIN }, "whose elements overlap"),
            (Described { strides: &[0, 1], ..PLAIN }, "whose elements overlap"),
            (Described { shape: &[1 << 40, 1], strides: &[0, 1], ..PLAIN }, "whose elements overlap"),
            (Described { shape: &[1 << 40, 1 << 40], strides: &[0, 0], ..PLAIN }, "larger than any memory"),
            (
                Described { shape: &[0, 1 << 62, 1 << 62], strides: &[0, 0, 0], ..PLAIN },
                "larger than any memory",
            ),
            (Described { shape: &[4, 2], strides: &[i64::MAX, 1], ..PLAIN }, "larger than any memory"),
            (Described { offset: i64::MAX, ..PLAIN }, "reach element"),
            (Described { numel: 7, ..PLAIN }, "a storage of 7 float32 from 0 on, but its 24 bytes are fewer"),
            (Described { numel: i64::MAX, shape: &[1 << 40], strides: &[1], ..PLAIN }, "beyond reason"),
            (Described { class: "DoubleStorage", ..PLAIN }, "its 24 bytes are fewer"),
            (Described { class: "CharStorage", ..PLAIN }, "torch.int8`, which are not supported"),
            (Described { class: "EvilStorage", ..PLAIN }, "torch.EvilStorage`, which are not supported"),
            (Described { key: "1", ..PLAIN }, "`weights/data/1` cannot be read"),
            (Described { key: "../../../etc/passwd", ..PLAIN }, "cannot be read"),
        ] {
            let found = refusal("weights.pt", &six_floats(&[tensor]));
            assert!(found.contains(complaint), "{complaint}: {found}");
        }
    }

    #[test]
    fn a_name_that_occurs_twice_is_refused() {
        let found = refusal("weights.pt", &six_floats(&[PLAIN, PLAIN]));
        assert!(found.contains("the name `w` occurs twice"), "{found}");
    }

    #[test]
    fn many_views_of_one_storage_do_not_multiply_memory() {
        // 1000 views of 59 000 out of 60 000 floats: each legal, together nearly a thousand times the file.
        let view = |i: i64| Described {
            name: Box::leak(i.to_string().into_boxed_str()),
            numel: 60_000,
            offset: i,
            shape: &[59_000],
            strides: &[1],
            ..PLAIN
        };
        let views: Vec<_> = (0..1000).map(view).collect();
        let found = refusal("weights.pt", &archive(&pickle(&views), &[("0", &floats(60_000))]));
        assert!(found.contains("overlap beyond reason"), "{found}");
    }

    #[test]
    fn a_pickle_that_would_run_something_is_refused_by_name() {
        for pickle in
            [&b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R."[..], b"\x80\x04\x8c\x05posix\x8c\x06system\x93."]
        {
            let found = refusal("weights.pt", &archive(pickle, &[]));
            assert!(
                found.contains("system`, which a checkpoint's weights don't need; nothing was run"),
                "{found}"
            );
        }
    }

    #[test]
    fn an_unknown_opcode_is_named_with_its_place() {
        let found = refusal("weights.pt", &archive(b"\x80\x02}\xf0.", &[]));
        assert!(found.contains("byte 3 of the pickle is 0xf0, no opcode"), "{found}");
    }

    #[test]
    fn what_is_no_pytorch_file_says_how_it_begins() {
        let found = refusal("weights.pt", b"<html><body>404</body></html>");
        assert!(found.contains("it begins with \"<html><body>404<\""), "{found}");
        let found =
            refusal("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
        assert!(found.contains("git lfs pull"), "{found}");
        let found = refusal("weights.pt", b"");
        assert!(found.contains("the file is empty"), "{found}");
    }

    #[test]
    fn other_archives_and_compressed_ones_are_refused() {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("word/document.xml", SimpleFileOptions::default()).unwrap();
        let found = refusal("weights.pt", &zip.finish().unwrap().into_inner());
        assert!(found.contains("0 records `<name>/data.pkl`"), "{found}");

        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let deflated = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        zip.start_file("weights/data.pkl", deflated).unwrap();
        zip.write_all(&vec![b'N'; 1 << 20]).unwrap();
        let found = refusal("weights.pt", &zip.finish().unwrap().into_inner());
        assert!(found.contains("is compressed or encrypted"), "{found}");
    }

    /// A safetensors file with this header, whatever it says about `data`.
    fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn lying_safetensors_headers_are_refused() {
        let entry = r#""w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
        let object = |entry: &str| format!("{{{entry}}}");
        assert!(read_bytes("w.safetensors", &safetensors(&object(entry), &[0; 8])).is_ok());
        for (header, data) in [
            (object(entry), 4),                       // cut short
            (object(entry), 12),                      // something behind
            (object(&format!("{entry},{entry}")), 8), // a name twice
            (entry.to_owned(), 8),                    // no object
            (object(&entry.replace("[2]", "[3]")), 8),
            (object(&entry.replace("[2]", "[4611686018427387904,4]")), 8),
            (object(&entry.replace("[2]", "[-2]")), 8),
            (object(&entry.replace("[0,8]", "[8,0]")), 8),
            (object(&entry.replace("[0,8]", "[4,12]")), 12),
            (object(&entry.replace("F32", "C64")), 8),
            (object(""), 0),
        ] {
            let found = refusal("w.safetensors", &safetensors(&header, &vec![0; data]));
            assert!(found.contains("w.safetensors"), "{found}");
        }
        for length in [0, 7, 1 << 20, u64::MAX / 2, u64::MAX] {
            let mut lying = safetensors(&object(entry), &[0; 8]);
            lying[..8].copy_from_slice(&length.to_le_bytes());
            assert!(read_bytes("w.safetensors", &lying).is_err(), "a header of {length} bytes");
        }
    }

    /// A folder with these files.
    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }

    #[test]
    fn shards_are_read_through_their_index() {
        let [a, b] =
            ["glm.a", "glm.word_embeddings.weight"].map(|name| six_floats(&[Described { name, ..PLAIN }]));
        let index =
            br#"{"metadata": {}, "weight_map": {"glm.a": "1.bin", "glm.word_embeddings.weight": "2.bin"}}"#;
        let dir = folder(&[("pytorch_model.bin.index.json", index), ("1.bin", &a), ("2.bin", &b)]);
        let read = checkpoint::read(dir.path()).unwrap();
        assert_eq!(read.tensors.keys().collect::<Vec<_>>(), ["a", "word_embeddings.weight"]);
        assert_eq!((read.layout, read.files.len()), (checkpoint::Layout::Sharded { shards: 2 }, 2));
    }

    #[test]
    fn an_index_that_promises_too_much_is_refused() {
        let shard = six_floats(&[PLAIN]);
        for (index, complaint) in [
            (
                &br#"{"weight_map": {"w": "1.bin", "x": "2.bin"}}"#[..],
                "the shard `2.bin`, which is not there",
            ),
            (br#"{"weight_map": {"w": "1.bin", "x": "1.bin"}}"#, "not there: `x` in `1.bin`"),
            (br#"{"weight_map": {"w": "1.bin", "x": "same.bin"}}"#, "`w` is in `1.bin` and in `same.bin`"),
            (br#"{"weight_map": {"w": "../1.bin"}}"#, "which is not a file beside it"),
            (br#"{"weight_map": {}}"#, "is empty"),
            (br#"{"weights": {}}"#, "missing field `weight_map`"),
        ] {
            let dir =
                folder(&[("pytorch_model.bin.index.json", index), ("1.bin", &shard), ("same.bin", &shard)]);
            let found = message(&checkpoint::read(dir.path()).unwrap_err());
            assert!(found.contains(complaint), "{complaint}: {found}");
        }
    }

    #[test]
    fn a_tag_that_leads_elsewhere_or_nowhere_is_refused() {
        for tag in ["", "1234", "..", "../..", "/"] {
            let dir = folder(&[("latest_checkpointed_iteration.txt", tag.as_bytes())]);
            let found = message(&checkpoint::read(dir.path()).unwrap_err());
            assert!(found.contains("there is no such folder beside it"), "{tag}: {found}");
        }
    }

    #[test]
    fn convert_lists_every_weight_that_does_not_fit() {
        let names = [
            "word_embeddings.weight",
            "transformer.position_embeddings.weight",
            "lm_head.weight",
            "transformer.layers.0.mlp.dense_h_to_4h.bias",
        ];
        let bytes = six_floats(&names.map(|name| Described { name, ..PLAIN }));
        let dir = folder(&[("weights.pt", &bytes)]);
        let [source, target] = ["weights.pt", "model"].map(|name| dir.path().join(name));
        let mut command = glm_eval();
        command.arg("convert").args([&source, &target]).args(["--num-attention-heads", "3"]);
        let found = String::from_utf8(command.assert().code(2).get_output().stderr.clone()).unwrap();
        for complaint in [
            "13 missing:",
            "\n    transformer.final_layernorm.bias",
            "1 unexpected:\n    lm_head.weight",
            "transformer.layers.0.mlp.dense_h_to_4h.bias: [2, 3] found, [12] expected",
        ] {
            assert!(found.contains(complaint), "{complaint}: {found}");
        }
        assert!(!target.exists());
    }

    #[test]
    fn convert_keeps_names_configuration_and_recipe_of_other_families() {
        let bytes = six_floats(&[Described { name: "bert.pooler.dense.weight", ..PLAIN }]);
        let config = br#"{"model_type": "bert", "hidden_size": 3}"#;
        let recipe = b"[all]\nepochs = 2\n";
        let dir = folder(&[
            ("pytorch_model.bin", &bytes),
            ("config.json", config),
            ("tokenizer.json", b"{}"),
            ("recipe.toml", recipe),
        ]);
        let target = dir.path().join("model");
        glm_eval().arg("convert").args([dir.path(), &target]).args(["--dtype", "bf16"]).assert().success();
        let read = checkpoint::read(&target).unwrap();
        assert_eq!(read.config.unwrap()["hidden_size"], 3);
        assert_eq!(read.tensors["bert.pooler.dense.weight"].dtype(), DType::BF16);
        assert_eq!(read.tokenizer, Some(target.join("tokenizer.json")));
        assert_eq!(fs::read(target.join("recipe.toml")).unwrap(), recipe);
    }

    #[test]
    fn convert_writes_the_weights_alone_on_request_and_knows_what_it_replaces() {
        let dir = folder(&[("weights.pt", &six_floats(&[PLAIN])), ("notes.txt", b"mine")]);
        let [source, target] = ["weights.pt", "w.safetensors"].map(|name| dir.path().join(name));
        let convert = |target: &Path, format: &str| {
            let mut command = glm_eval();
            command.arg("convert").args([&source, target]).args(["--force", "--format", format]).assert()
        };
        convert(&target, "safetensors").success();
        convert(&target, "safetensors").success();
        assert_eq!(checkpoint::read(&target).unwrap().tensors["w"].dims(), [2, 3]);
        convert(&target, "model-dir").code(2); // a file, not a folder
        convert(dir.path(), "model-dir").code(2); // it holds notes.txt
        assert_eq!(fs::read(dir.path().join("notes.txt")).unwrap(), b"mine");
    }

    #[test]
    fn convert_asks_for_the_heads_when_the_weights_cannot_tell() {
        let names = ["word_embeddings.weight", "transformer.position_embeddings.weight"];
        let dir = folder(&[("weights.pt", &six_floats(&names.map(|name| Described { name, ..PLAIN })))]);
        let [source, target] = ["weights.pt", "model"].map(|name| dir.path().join(name));
        let done = glm_eval().arg("convert").args([&source, &target]).assert().code(2);
        let found = String::from_utf8(done.get_output().stderr.clone()).unwrap();
        assert!(found.contains("pass `--num-attention-heads N`"), "{found}");
    }
}
