//! The signed head of the tree: a checkpoint as C2SP's tlog-checkpoint and signed-note describe it.
//!
//! Three lines (origin, size, root in base64), an empty line, and a signature line for each key:
//! `— <name> <base64 of key id and signature>`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use super::merkle::Hash;
use crate::keys::parse_key;

/// Whose log it is; also the name of its key.
pub const ORIGIN: &str = "orion/log";

/// The algorithm's number in a signed note.
const ED25519: u8 = 1;

/// Begins a signature line.
const SIGNATURE: &str = "\u{2014} ";

/// A head of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// How many events it covers: the newest position.
    pub size: u64,
    /// The root of the tree.
    pub root: Hash,
}

/// Why a checkpoint is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It has not the form of a checkpoint of this log.
    #[error("it is not a checkpoint of an Orion log")]
    Malformed,
    /// None of the known keys has signed it.
    #[error("no known key has signed it")]
    Unsigned,
    /// It is kept as another one.
    #[error("its row says another size or root")]
    Misfiled,
}

/// Signs checkpoints.
#[derive(Clone)]
pub struct LogKey(SigningKey);

/// Verifies checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPublicKey(VerifyingKey);

impl std::fmt::Debug for LogKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogKey(***)")
    }
}

impl LogKey {
    /// The key of an Ed25519 seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// What others verify with.
    pub fn public(&self) -> LogPublicKey {
        LogPublicKey(self.0.verifying_key())
    }

    /// A checkpoint as it is handed out.
    pub fn sign(&self, checkpoint: &Checkpoint) -> String {
        let text = checkpoint.text();
        let signature = self.0.sign(text.as_bytes()).to_bytes();
        let signed = BASE64.encode([&self.public().id()[..], &signature].concat());
        format!("{text}\n{SIGNATURE}{ORIGIN} {signed}\n")
    }
}

impl LogPublicKey {
    /// `<name>+<key id>+<base64>`, as signed notes write a key.
    pub fn text(&self) -> String {
        let key = BASE64.encode([&[ED25519][..], self.0.as_bytes()].concat());
        format!("{ORIGIN}+{}+{key}", hex::encode(self.id()))
    }

    /// Reads keys as they are published: what [`Self::text`] has written, one on each line. `None` if there
    /// is none, or something else.
    pub fn parse_all(text: &str) -> Option<Vec<Self>> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys: Option<Vec<Self>> = lines.map(Self::parse).collect();
        keys.filter(|keys| !keys.is_empty())
    }

    /// An earlier key as a setting has it: its seed, or only the public key.
    pub fn parse_setting(text: &str) -> Option<Self> {
        let of_seed = || parse_key(text).map(|seed| LogKey::from_seed(&seed).public());
        Self::parse(text).or_else(of_seed)
    }

    /// Reads what [`Self::text`] has written.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(3, '+');
        let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
        let bytes = BASE64.decode(key).ok()?;
        let (algorithm, key) = bytes.split_first()?;
        let key = Self(VerifyingKey::from_bytes(key.try_into().ok()?).ok()?);
        let is_ours = name == ORIGIN && *algorithm == ED25519 && id == hex::encode(key.id());
        is_ours.then_some(key)
    }

    fn id(&self) -> [u8; 4] {
        self.id_named(ORIGIN)
    }

    fn id_named(&self, name: &str) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', ED25519])
            .chain_update(self.0.as_bytes())
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    fn has_signed(&self, text: &str, line: &str) -> bool {
        let signed = line.strip_prefix(SIGNATURE).and_then(|line| line.strip_prefix(ORIGIN));
        let Some(signed) = signed.and_then(|line| line.strip_prefix(' ')) else { return false };
        let Ok(bytes) = BASE64.decode(signed) else { return false };
        let Some((id, signature)) = bytes.split_first_chunk::<4>() else { return false };
        let Ok(signature) = Signature::from_slice(signature) else { return false };
        *id == self.id() && self.0.verify_strict(text.as_bytes(), &signature).is_ok()
    }
}

impl Checkpoint {
    /// The root as it stands in the signed text: base64.
    pub fn root_text(&self) -> String {
        BASE64.encode(self.root)
    }

    fn text(&self) -> String {
        format!("{ORIGIN}\n{}\n{}\n", self.size, self.root_text())
    }

    /// Reads a checkpoint that one of these keys has signed. Signatures of others, such as witnesses, may
    /// stand beside it.
    pub fn open(note: &str, keys: &[LogPublicKey]) -> Result<Self, CheckpointError> {
        let (checkpoint, text, signatures) = Self::split(note)?;
        let is_signed =
            signatures.lines().any(|line| keys.iter().any(|key| key.has_signed(&text, line)));
        if is_signed { Ok(checkpoint) } else { Err(CheckpointError::Unsigned) }
    }

    /// Reads a checkpoint without a look at its signatures.
    pub(super) fn unverified(note: &str) -> Result<Self, CheckpointError> {
        Self::split(note).map(|(checkpoint, ..)| checkpoint)
    }

    /// What is signed, its text, and the lines of signatures.
    fn split(note: &str) -> Result<(Self, String, &str), CheckpointError> {
        let (text, signatures) = note.split_once("\n\n").ok_or(CheckpointError::Malformed)?;
        let text = format!("{text}\n");
        let checkpoint = Self::parse(&text).ok_or(CheckpointError::Malformed)?;
        Ok((checkpoint, text, signatures))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let size: u64 = size.parse().ok()?;
        let root: Hash = BASE64.decode(root).ok()?.try_into().ok()?;
        let checkpoint = Self { size, root };
        // Nothing else may stand in what was signed, and nothing in another form.
        (origin == ORIGIN && checkpoint.text() == text).then_some(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> LogKey {
        LogKey::from_seed(&[seed; 32])
    }

    const HEAD: Checkpoint = Checkpoint { size: 42, root: [9; 32] };

    #[test]
    fn a_signed_checkpoint_opens_with_its_key_only() {
        let note = key(1).sign(&HEAD);
        assert_eq!(Checkpoint::open(&note, &[key(1).public()]), Ok(HEAD));
        assert_eq!(Checkpoint::open(&note, &[key(2).public(), key(1).public()]), Ok(HEAD));
        let foreign = Checkpoint::open(&note, &[key(2).public()]);
        assert_eq!(foreign, Err(CheckpointError::Unsigned));
    }

    #[test]
    fn a_changed_checkpoint_does_not_open() {
        let note = key(1).sign(&HEAD);
        let open = |note: &str| Checkpoint::open(note, &[key(1).public()]);
        assert_eq!(open(&note.replace("\n42\n", "\n43\n")), Err(CheckpointError::Unsigned));
        assert_eq!(open(&note.replace("\n42\n", "\n042\n")), Err(CheckpointError::Malformed));
        assert_eq!(
            open(&note.replace("orion/log\n42", "other/log\n42")),
            Err(CheckpointError::Malformed)
        );
        assert_eq!(open(&note.replace("\n\n", "\nmore\n\n")), Err(CheckpointError::Malformed));
        assert_eq!(open(&note.replace("log ", "log  ")), Err(CheckpointError::Unsigned));
        assert_eq!(open(""), Err(CheckpointError::Malformed));
        assert_eq!(open(&note[..note.len() - 20]), Err(CheckpointError::Unsigned));
    }

    #[test]
    fn witnesses_may_sign_too() {
        let witness = "\u{2014} witness.example AAAAAABBBBCCCC=\n";
        let note = format!("{}{witness}", key(1).sign(&HEAD));
        assert_eq!(Checkpoint::open(&note, &[key(1).public()]), Ok(HEAD));
    }

    #[test]
    fn public_keys_are_read_as_they_are_written() {
        let (public, other) = (key(1).public(), key(2).public());
        assert_eq!(LogPublicKey::parse(&public.text()), Some(public.clone()));
        assert_eq!(LogPublicKey::parse(&public.text().replace("orion/log", "other")), None);
        let both = format!("{}\n\n{}\n", public.text(), other.text());
        assert_eq!(LogPublicKey::parse_all(&both), Some(vec![public.clone(), other]));
        assert_eq!(LogPublicKey::parse_all(&format!("{}\nnonsense", public.text())), None);
        assert_eq!(LogPublicKey::parse_all(""), None);
        assert_eq!(LogPublicKey::parse_setting(&public.text()), Some(public.clone()));
        assert_eq!(LogPublicKey::parse_setting(&BASE64.encode([1; 32])), Some(public));
    }

    /// The example in the documentation of Go's signed notes: its key, id and signature are ours to check.
    #[test]
    fn a_published_note_is_understood() {
        let key = BASE64.decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        let key = VerifyingKey::from_bytes(key[1..].try_into().unwrap()).unwrap();
        assert_eq!(hex::encode(LogPublicKey(key).id_named("PeterNeumann")), "c74f20a3");
        let signed = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        let signed = BASE64.decode(signed).unwrap();
        assert_eq!(hex::encode(&signed[..4]), "c74f20a3");
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
        let signature = Signature::from_slice(&signed[4..]).unwrap();
        key.verify_strict(text.as_bytes(), &signature).unwrap();
    }
}
