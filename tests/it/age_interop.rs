//! age files and the rest of the world: the C2SP test vectors, and the stock `age` program.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use age::{NoCallbacks, scrypt};
use ckbackup::archive::age::{Header, Identities, Opener, Recipients, generate_identity, open_all, seal_all};
use ckbackup::error::Kind;
use sha2::{Digest as _, Sha256};

const VECTORS: &str = "CKBACKUP_TEST_AGE_VECTORS";

/// Groups of vectors that do not apply to ckbackup: prefix, number, reason.
const NOT_APPLICABLE: [(&str, usize, &str); 2] = [
    ("armor_", 33, "stored objects are binary; only a user's own identity file may be armored"),
    ("hybrid", 18, "post-quantum identities (AGE-SECRET-KEY-PQ-1…) are not in the age crate 0.12"),
];
/// Vectors that apply, by what the specification expects of them.
const APPLICABLE: [(&str, usize); 5] =
    [("HMAC failure", 1), ("header failure", 51), ("no match", 7), ("payload failure", 18), ("success", 15)];

/// A vector: the fields before the empty line, and the age file after it.
struct Vector {
    name: String,
    fields: Vec<(String, String)>,
    file: Vec<u8>,
}

impl Vector {
    fn read(path: &Path) -> Vector {
        let raw = fs::read(path).unwrap();
        let split = raw.windows(2).position(|w| w == b"\n\n").unwrap();
        let fields = std::str::from_utf8(&raw[..split]).unwrap().lines();
        let fields = fields.map(|l| l.split_once(": ").unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let mut vector = Vector {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            fields,
            file: raw[split + 2..].to_vec(),
        };
        if vector.field("compressed") == Some("zlib") {
            let compressed = std::mem::take(&mut vector.file);
            flate2::read::ZlibDecoder::new(&compressed[..]).read_to_end(&mut vector.file).unwrap();
        }
        vector
    }

    fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    fn field(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }

    fn identities(&self) -> Identities {
        let mut identities = Identities::default();
        for text in self.all("identity") {
            identities.push(Box::new(text.parse::<age::x25519::Identity>().unwrap()));
        }
        for passphrase in self.all("passphrase") {
            let mut identity = scrypt::Identity::new(passphrase.to_owned().into());
            identity.set_max_work_factor(22);
            identities.push(Box::new(identity));
        }
        identities
    }

    /// What came of opening the file in pieces of this size, in the words of the vectors, and the plaintext released.
    fn open(&self, identities: &Arc<Identities>, piece: usize) -> (&'static str, Vec<u8>) {
        let mut released = Vec::new();
        if let Err(outcome) = self.open_header(identities) {
            return (outcome, released);
        }
        let mut opener = Opener::new(identities.clone());
        let pushed = self.file.chunks(piece).try_for_each(|data| opener.push(data, &mut released));
        match pushed.and_then(|()| opener.finish(&mut released)) {
            Ok(()) => ("success", released),
            Err(e) => {
                assert_eq!(e.kind(), Kind::Integrity);
                ("payload failure", released)
            }
        }
    }

    fn open_header(&self, identities: &Identities) -> Result<(), &'static str> {
        let Ok(Some((header, _))) = Header::parse(&self.file) else { return Err("header failure") };
        let error = match header.unlock(identities) {
            Ok(_) => return Ok(()),
            Err(e) => e,
        };
        match error.kind() {
            Kind::NoIdentity => Err("no match"),
            Kind::Integrity if error.to_string().contains("MAC") => Err("HMAC failure"),
            Kind::Integrity => Err("header failure"),
            _ => panic!("{}: {}", self.name, error.one_line()),
        }
    }

    fn check(&self) {
        let expected = self.field("expect").unwrap();
        let identities = Arc::new(self.identities());
        for piece in [1 << 20, 1013] {
            let (outcome, released) = self.open(&identities, piece);
            assert_eq!(outcome, expected, "{}", self.name);
            if let Some(digest) = self.field("payload") {
                assert_eq!(hex::encode(Sha256::digest(&released)), digest, "{}: what was released", self.name);
            }
        }
        let whole = open_all(&identities, &self.file);
        assert_eq!(whole.is_ok(), expected == "success", "{}", self.name);
    }
}

fn vectors() -> Vec<Vector> {
    let folder = std::env::var_os(VECTORS)
        .map(PathBuf::from)
        .unwrap_or_else(|| panic!("{VECTORS} must name the folder with the age test vectors (make test sets it)"));
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| Vector::read(path)).collect()
}

#[test]
fn every_c2sp_vector_that_applies_passes() {
    let (mut applicable, mut not_applicable) = (BTreeMap::new(), BTreeMap::new());
    for vector in vectors() {
        match NOT_APPLICABLE.iter().find(|(prefix, ..)| vector.name.starts_with(prefix)) {
            Some((prefix, ..)) => *not_applicable.entry(*prefix).or_insert(0) += 1,
            None => {
                vector.check();
                *applicable.entry(vector.field("expect").unwrap().to_owned()).or_insert(0) += 1;
            }
        }
    }
    let applicable: Vec<_> = applicable.iter().map(|(expect, n)| (expect.as_str(), *n)).collect();
    assert_eq!(applicable, APPLICABLE, "vectors that apply");
    let not_applicable: Vec<_> = not_applicable.into_iter().collect();
    assert_eq!(not_applicable, NOT_APPLICABLE.map(|(prefix, n, _)| (prefix, n)), "vectors that do not apply");
}

/// Runs a stock program, which must be installed, and returns its standard output.
fn run(program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("run {program}: {e} (Debian: apt-get install age openssh-client)"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A folder with an identity of the stock program's, one of ours, and an SSH key; and their recipients.
struct Keys {
    folder: tempfile::TempDir,
    stock: String,
    ours: String,
    ssh: String,
}

impl Keys {
    fn new() -> Keys {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        run("age-keygen", &["-o", &path("stock")]);
        let text = fs::read_to_string(path("stock")).unwrap();
        let stock = text.lines().find_map(|l| l.strip_prefix("# public key: ")).unwrap().to_owned();
        let (secret, ours) = generate_identity();
        fs::write(path("ours"), secret.file_text()).unwrap();
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", &path("ssh")]);
        let ssh = fs::read_to_string(path("ssh.pub")).unwrap().trim().to_owned();
        Keys { folder, stock, ours, ssh }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    /// Every set of recipients that is tried, with the identity files of which each opens a file for them.
    fn cases(&self) -> [(Vec<String>, Vec<&'static str>); 4] {
        [
            (vec![self.stock.clone()], vec!["stock"]),
            (vec![self.stock.clone(), self.ours.clone()], vec!["stock", "ours"]),
            (vec![self.ssh.clone()], vec!["ssh"]),
            (vec![self.ours.clone(), self.ssh.clone()], vec!["ours", "ssh"]),
        ]
    }
}

const SIZES: [usize; 6] = [0, 1, 65535, 65536, 65537, 200_000];

fn plaintext(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 7 + i / 256) as u8).collect()
}

#[test]
fn the_stock_age_opens_what_we_seal() {
    let keys = Keys::new();
    for (recipients, identities) in keys.cases() {
        let recipients = Recipients::parse(&recipients).unwrap();
        for size in SIZES {
            let sealed = keys.path("sealed.age");
            fs::write(&sealed, seal_all(&recipients, &plaintext(size)).unwrap()).unwrap();
            for identity in &identities {
                let opened = run("age", &["-d", "-i", &keys.path(identity), &sealed]);
                assert!(opened == plaintext(size), "{size} bytes with {identity}");
            }
        }
    }
}

#[test]
fn we_open_what_the_stock_age_seals() {
    let keys = Keys::new();
    for (recipients, identities) in keys.cases() {
        for size in SIZES {
            let (plain, sealed) = (keys.path("plain"), keys.path("sealed.age"));
            fs::write(&plain, plaintext(size)).unwrap();
            let named = recipients.iter().flat_map(|r| ["-r", r.as_str()]);
            run("age", &named.chain(["-o", &sealed, &plain]).collect::<Vec<_>>());
            for identity in &identities {
                let identities = Identities::read_files(&[keys.path(identity).into()], NoCallbacks).unwrap();
                let opened = open_all(&identities, &fs::read(&sealed).unwrap()).unwrap();
                assert!(opened == plaintext(size), "{size} bytes with {identity}");
            }
            fs::remove_file(&sealed).unwrap();
        }
    }
}
