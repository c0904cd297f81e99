//! A disk in memory that can lose its power: whatever was not synced is then there, or not, or in
//! part, as a seed decides.
//!
//! The rule is the weakest one that [`Storage`] allows. Of the writes to a file since it was last
//! synced any may be missing, in units of a sector; of the names made, changed or removed since
//! their folder was last synced any may be as before. Only a rename is one thing.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use log_core::Mapping;
use log_core::io::{Entry, EntryKind, File, OpenMode, Storage};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<NameChange>,
    inodes: Vec<Inode>,
}

#[derive(Clone)]
struct NameChange {
    removed: Option<PathBuf>,
    put: Option<(PathBuf, usize)>,
}

#[derive(Clone, Default)]
struct Inode {
    now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

/// A disk whose power can fail.
#[derive(Clone, Default)]
pub struct PoweredDisk(Arc<Mutex<State>>);

impl std::fmt::Debug for PoweredDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PoweredDisk")
    }
}

impl NameChange {
    fn is_in(&self, folder: &Path) -> bool {
        let path = self.removed.as_ref().or(self.put.as_ref().map(|(path, _)| path));
        path.is_some_and(|path| path.parent() == Some(folder))
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        if let Some(path) = &self.removed {
            names.remove(path);
        }
        if let Some((path, inode)) = &self.put {
            names.insert(path.clone(), *inode);
        }
    }
}

impl State {
    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, new) => {
                bytes.resize(bytes.len().max(at + new.len()), 0);
                bytes[*at..at + new.len()].copy_from_slice(new);
            }
            Self::SetLen(len) => bytes.resize(*len, 0),
        }
    }

    /// As much of it as got to the disk.
    fn survive(&self, bytes: &mut Vec<u8>, luck: &mut Luck) {
        match self {
            Self::Write(at, new) => {
                let mut done = 0;
                while done < new.len() {
                    let sector_end = (at + done) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES;
                    let end = (sector_end - at).min(new.len());
                    if luck.holds() {
                        Self::Write(at + done, new[done..end].to_vec()).apply(bytes);
                    }
                    done = end;
                }
            }
            Self::SetLen(_) if luck.holds() => self.apply(bytes),
            Self::SetLen(_) => {}
        }
    }
}

struct Luck {
    state: u64,
    /// Of 256, how much holds.
    share: u64,
}

impl Luck {
    fn new(seed: u64) -> Self {
        let mut luck = Self { state: seed, share: 0 };
        // Also all and nothing: a disk that forgets half of everything is not the only one.
        luck.share = [0, 64, 128, 230, 256][(luck.next() % 5) as usize];
        luck
    }

    fn holds(&mut self) -> bool {
        self.next() % 256 < self.share
    }

    /// A counter, mixed until no bit can be told from its neighbours.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 16
    }
}

impl PoweredDisk {
    /// The disk as it is found after its power failed.
    pub fn after_power_loss(&self, seed: u64) -> Self {
        let state = self.state();
        let mut luck = Luck::new(seed);
        let mut names = state.synced_names.clone();
        for change in &state.unsynced_names {
            if luck.holds() {
                change.apply(&mut names);
            }
        }
        let survive = |inode: &Inode| {
            let mut now = inode.synced.clone();
            inode.unsynced.iter().for_each(|change| change.survive(&mut now, &mut luck));
            Inode { synced: now.clone(), now, unsynced: Vec::new() }
        };
        let inodes = state.inodes.iter().map(survive).collect();
        let synced_names = names.clone();
        Self(Arc::new(Mutex::new(State {
            names,
            synced_names,
            unsynced_names: Vec::new(),
            inodes,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics in here")
    }

    fn file(&self, inode: usize) -> Arc<dyn File> {
        Arc::new(PoweredFile { disk: self.clone(), inode })
    }
}

impl Storage for PoweredDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        let found = state.inode(path);
        let inode = match (mode, found) {
            (OpenMode::Read | OpenMode::Write, found) => found?,
            (OpenMode::CreateNew, Ok(_)) => return Err(ErrorKind::AlreadyExists.into()),
            (OpenMode::CreateOrEmpty, Ok(inode)) => {
                state.inodes[inode].change(Change::SetLen(0));
                inode
            }
            (OpenMode::CreateNew | OpenMode::CreateOrEmpty, Err(_)) => {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                let put = Some((path.to_path_buf(), inode));
                state.change(NameChange { removed: None, put });
                inode
            }
        };
        drop(state);
        Ok(self.file(inode))
    }

    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state();
        let inside = state.names.keys().filter(|path| path.parent() == Some(folder));
        let name = |path: &PathBuf| path.file_name()?.to_str().map(str::to_owned);
        Ok(inside.filter_map(name).map(|name| Entry { name, kind: EntryKind::File }).collect())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let state = self.state();
        let inode = state.inode(path)?;
        Ok(state.inodes[inode].now.len() as u64)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode(from)?;
        let put = Some((to.to_path_buf(), inode));
        state.change(NameChange { removed: Some(from.to_path_buf()), put });
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.inode(path)?;
        state.change(NameChange { removed: Some(path.to_path_buf()), put: None });
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.state().names.retain(|name, _| name.parent() != Some(path));
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let (synced, unsynced) = std::mem::take(&mut state.unsynced_names)
            .into_iter()
            .partition::<Vec<_>, _>(|change| change.is_in(path));
        state.unsynced_names = unsynced;
        synced.iter().for_each(|change| change.apply(&mut state.synced_names));
        Ok(())
    }
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.unsynced.push(change);
    }
}

#[derive(Debug)]
struct PoweredFile {
    disk: PoweredDisk,
    inode: usize,
}

impl File for PoweredFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let now = &state.inodes[self.inode].now;
        let rest = now.get(position as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.disk.state().inodes[self.inode].change(Change::Write(position as usize, bytes));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.state().inodes[self.inode].change(Change::SetLen(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let inode = &mut self.disk.state().inodes[self.inode];
        inode.synced.clone_from(&inode.now);
        inode.unsynced.clear();
        Ok(())
    }

    fn map(&self, len: u64) -> io::Result<Mapping> {
        let state = self.disk.state();
        let now = &state.inodes[self.inode].now;
        let len = now.len().min(len as usize);
        Ok(Mapping::of_bytes(Bytes::copy_from_slice(&now[..len])))
    }
}
