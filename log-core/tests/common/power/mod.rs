//! A disk in memory that can lose its power at any operation: whatever was not synced is then
//! there, or not, or in part, as a seed decides. It can also fail, fill up, and lie.
//!
//! What it does is a function of what is asked of it and of numbers that the test chooses, so that
//! a run can be repeated. There is no folder, no descriptor and no sync on the machine's own disk
//! behind it: a log can be opened here some thousand times a second.
//!
//! A folder is a name like any other: made, and lost with all that is in it unless the folder above
//! is synced. Only the root is always there.

pub mod content;
pub mod loss;
pub mod seeds;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use content::{Change, ChangeKind, Content};
use log_core::Mapping;
use log_core::io::{Entry, EntryKind, File, OpenMode, Storage};
use loss::Loss;

/// What a storage is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Operation {
    Open,
    Create,
    List,
    Len,
    Rename,
    Remove,
    SyncFolder,
    Read,
    Write,
    SetLen,
    Sync,
    Map,
}

/// Which promise the disk breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Honesty {
    #[default]
    Honest,
    /// [`File::sync_data`] says that it has done it.
    LiesAboutFiles,
    /// [`Storage::sync_folder`] does.
    LiesAboutFolders,
}

/// Operations, by their number, that do not work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trouble {
    pub from: u64,
    pub until: u64,
    pub kind: TroubleKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TroubleKind {
    /// Reads, writes and syncs fail. A sync that fails leaves its pages marked clean: what they
    /// hold will never be written.
    Broken,
    /// What needs room fails; a write may get a part of it.
    Full,
}

/// How often what happened.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    /// By what was going on and by the operation that the power failed in.
    pub power_failed_in: BTreeMap<(&'static str, Operation), u64>,
    pub power_losses: u64,
    pub writes_lost: u64,
    pub writes_torn: u64,
    pub lengths_lost: u64,
    pub names_lost: u64,
    pub failed: BTreeMap<Operation, u64>,
    pub refused_as_full: BTreeMap<Operation, u64>,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        for (key, count) in &other.power_failed_in {
            *self.power_failed_in.entry(*key).or_default() += count;
        }
        for (key, count) in &other.failed {
            *self.failed.entry(*key).or_default() += count;
        }
        for (key, count) in &other.refused_as_full {
            *self.refused_as_full.entry(*key).or_default() += count;
        }
        self.power_losses += other.power_losses;
        self.writes_lost += other.writes_lost;
        self.writes_torn += other.writes_torn;
        self.lengths_lost += other.lengths_lost;
        self.names_lost += other.names_lost;
    }
}

/// A counter, mixed until no bit can be told from its neighbours.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed);
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ (mixed >> 32)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Named {
    inode: usize,
    /// The folder that it is in: one of the same name that comes later is another.
    folder: usize,
}

pub type Names = BTreeMap<PathBuf, Named>;

/// The inode of the root.
const ROOT: usize = usize::MAX;

#[derive(Clone, Default)]
struct State {
    names: Names,
    synced_names: Names,
    unsynced_names: Vec<NameChange>,
    inodes: Vec<Inode>,
    /// How many operations have been asked for.
    operations: u64,
    /// The power fails in the operation of this number.
    fuse: Option<u64>,
    is_off: bool,
    troubles: Vec<Trouble>,
    honesty: Honesty,
    /// What the test is doing, for the tally.
    doing: &'static str,
    tally: Tally,
}

#[derive(Clone)]
pub struct NameChange {
    number: u64,
    removed: Option<PathBuf>,
    put: Option<(PathBuf, Named)>,
}

#[derive(Clone, Default)]
pub struct Inode {
    is_folder: bool,
    now: Content,
    synced: Content,
    unsynced: Vec<Change>,
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

    fn apply(&self, names: &mut Names) {
        if let Some(path) = &self.removed {
            names.remove(path);
        }
        if let Some((path, named)) = &self.put {
            names.insert(path.clone(), *named);
        }
    }
}

/// What becomes of an operation.
enum Fate {
    Done,
    /// It was under way when the power failed: it may have been done, and nobody is told.
    CutShort,
    Fails(TroubleKind),
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl TroubleKind {
    fn error(self) -> io::Error {
        match self {
            Self::Broken => io::Error::other("input/output error"),
            Self::Full => ErrorKind::StorageFull.into(),
        }
    }

    fn hits(self, operation: Operation) -> bool {
        use Operation::{Create, Read, SetLen, Sync, SyncFolder, Write};
        match self {
            Self::Broken => {
                matches!(operation, Create | Read | SetLen | Sync | SyncFolder | Write)
            }
            Self::Full => matches!(operation, Create | Write),
        }
    }
}

impl State {
    fn fate(&mut self, operation: Operation) -> io::Result<Fate> {
        if self.is_off {
            return Err(power_is_off());
        }
        let number = self.operations;
        self.operations += 1;
        if self.fuse.is_some_and(|fuse| number >= fuse) {
            self.is_off = true;
            *self.tally.power_failed_in.entry((self.doing, operation)).or_default() += 1;
            return Ok(Fate::CutShort);
        }
        let trouble = self.troubles.iter().find(|trouble| {
            (trouble.from..trouble.until).contains(&number) && trouble.kind.hits(operation)
        });
        Ok(trouble.map_or(Fate::Done, |trouble| Fate::Fails(trouble.kind)))
    }

    /// An operation that changes nothing, or all at once.
    fn whole(&mut self, operation: Operation) -> io::Result<()> {
        match self.fate(operation)? {
            Fate::Done => Ok(()),
            Fate::CutShort => Err(power_is_off()),
            Fate::Fails(kind) => Err(self.failed(operation, kind)),
        }
    }

    fn failed(&mut self, operation: Operation, kind: TroubleKind) -> io::Error {
        let count = match kind {
            TroubleKind::Broken => &mut self.tally.failed,
            TroubleKind::Full => &mut self.tally.refused_as_full,
        };
        *count.entry(operation).or_default() += 1;
        kind.error()
    }

    fn change_names(
        &mut self,
        operation: Operation,
        removed: Option<PathBuf>,
        put: Option<(&Path, usize)>,
    ) -> io::Result<()> {
        let put = match put {
            Some((path, inode)) => {
                Some((path.to_path_buf(), Named { inode, folder: self.folder_of(path)? }))
            }
            None => None,
        };
        let fate = self.fate(operation)?;
        if let Fate::Fails(kind) = fate {
            return Err(self.failed(operation, kind));
        }
        let change = NameChange { number: self.operations, removed, put };
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
        if let Fate::CutShort = fate { Err(power_is_off()) } else { Ok(()) }
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).map(|named| named.inode).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn folder(&self, path: &Path) -> io::Result<usize> {
        match path.parent() {
            None => Ok(ROOT),
            Some(_) => match self.inode(path)? {
                inode if self.inodes[inode].is_folder => Ok(inode),
                _ => Err(ErrorKind::NotADirectory.into()),
            },
        }
    }

    fn folder_of(&self, path: &Path) -> io::Result<usize> {
        path.parent().map_or(Ok(ROOT), |above| self.folder(above))
    }

    fn make(&mut self, path: &Path, inode: Inode) -> io::Result<usize> {
        self.inodes.push(inode);
        let made = self.inodes.len() - 1;
        self.change_names(Operation::Create, None, Some((path, made)))?;
        Ok(made)
    }

    fn change(&mut self, operation: Operation, inode: usize, kind: ChangeKind) -> io::Result<()> {
        let number = self.operations;
        let at = match &kind {
            ChangeKind::Write { at, bytes, .. } => at + bytes.len(),
            ChangeKind::SetLen(_) => 0,
        };
        // Writing over what is there needs no room.
        let needs_room = at > self.inodes[inode].now.len();
        match self.fate(operation)? {
            Fate::Fails(TroubleKind::Full) if !needs_room => {
                self.inodes[inode].change(Change { number, kind });
                Ok(())
            }
            Fate::Done => {
                self.inodes[inode].change(Change { number, kind });
                Ok(())
            }
            Fate::CutShort => {
                self.inodes[inode].change(Change { number, kind });
                Err(power_is_off())
            }
            Fate::Fails(trouble) => {
                if operation == Operation::Write {
                    let torn = kind.torn((number * 37 % 200) as usize);
                    self.inodes[inode].change(Change { number, kind: torn });
                }
                Err(self.failed(operation, trouble))
            }
        }
    }

    fn sync(&mut self, inode: usize) -> io::Result<()> {
        let fate = self.fate(Operation::Sync)?;
        let honest = self.honesty != Honesty::LiesAboutFiles;
        let Inode { synced, unsynced, .. } = &mut self.inodes[inode];
        match fate {
            Fate::Done if honest => {
                unsynced.drain(..).for_each(|change| synced.apply(&change.kind));
                Ok(())
            }
            Fate::Done => Ok(()),
            Fate::CutShort => Err(power_is_off()),
            Fate::Fails(kind) => {
                // The page cache keeps them all, and no later sync will write those that are lost.
                let written = self.operations as usize % 3 * unsynced.len() / 2;
                unsynced.drain(..).take(written).for_each(|change| synced.apply(&change.kind));
                Err(self.failed(Operation::Sync, kind))
            }
        }
    }

    /// The number of the oldest change that is not synced.
    fn oldest(&self) -> u64 {
        let names = self.unsynced_names.iter().map(|change| change.number);
        let files = self.inodes.iter().filter_map(|inode| inode.unsynced.first());
        names.chain(files.map(|change| change.number)).min().unwrap_or(self.operations)
    }
}

impl PoweredDisk {
    /// The disk as it is found after its power failed. Every fault is gone with it.
    pub fn after_power_loss(&self, seed: u64) -> Self {
        let state = self.state();
        let (oldest, operations) = (state.oldest(), state.operations);
        Self::found(state, |tally| Loss::new(seed, oldest, operations, tally))
    }

    /// The disk as it is found after the process that used it was killed. Whatever that still does,
    /// it does to another disk.
    pub fn after_kill(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// The disk with what was synced, and nothing else.
    pub fn synced(&self) -> Self {
        Self::found(self.state(), |tally| Loss::of_everything(tally))
    }

    fn found(
        mut state: MutexGuard<'_, State>,
        loss: impl for<'a> FnOnce(&'a mut Tally) -> Loss<'a>,
    ) -> Self {
        let mut tally = std::mem::take(&mut state.tally);
        let mut loss = loss(&mut tally);
        let names = loss.names(state.synced_names.clone(), &state.unsynced_names);
        let mut found = State { honesty: state.honesty, ..State::default() };
        // What has no name any more is gone, and so is what lies in a folder that is.
        let mut folders = BTreeMap::from([(ROOT, ROOT)]);
        for (path, Named { inode, folder }) in names {
            let Some(&folder) = folders.get(&folder) else { continue };
            let (number, is_folder) = (found.inodes.len(), state.inodes[inode].is_folder);
            if is_folder {
                folders.insert(inode, number);
            }
            let content = loss.content(&state.inodes[inode]);
            let (now, synced) = (content.clone(), content);
            found.inodes.push(Inode { is_folder, now, synced, unsynced: vec![] });
            found.names.insert(path, Named { inode: number, folder });
        }
        found.synced_names = found.names.clone();
        found.tally = tally;
        Self(Arc::new(Mutex::new(found)))
    }

    /// How many operations it has been asked for.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets the power fail in the operation that comes after `operations` more.
    pub fn fail_power_after(&self, operations: u64) {
        let mut state = self.state();
        state.fuse = Some(state.operations + operations);
    }

    pub fn is_off(&self) -> bool {
        self.state().is_off
    }

    pub fn be(&self, honesty: Honesty) {
        self.state().honesty = honesty;
    }

    /// Operations from the one after `operations` more do not work, `count` of them.
    pub fn trouble_after(&self, operations: u64, count: u64, kind: TroubleKind) {
        let mut state = self.state();
        let from = state.operations + operations;
        state.troubles.push(Trouble { from, until: from + count, kind });
    }

    /// Whether some operation since the one of this number did not work.
    pub fn had_trouble_since(&self, operation: u64) -> bool {
        let state = self.state();
        let hit = |trouble: &Trouble| trouble.from < state.operations && trouble.until > operation;
        state.is_off || state.troubles.iter().any(hit)
    }

    /// Everything works from now on, if the power is on.
    pub fn heal(&self) {
        let mut state = self.state();
        state.troubles.clear();
        state.fuse = None;
    }

    /// The power fails now.
    pub fn turn_off(&self) {
        self.state().is_off = true;
    }

    /// Everything works from now on: it was only the process that had ended.
    pub fn turn_on(&self) {
        self.heal();
        self.state().is_off = false;
    }

    /// Says what the test is doing, for the tally.
    pub fn now_doing(&self, what: &'static str) {
        self.state().doing = what;
    }

    pub fn tally(&self) -> Tally {
        self.state().tally.clone()
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
            (OpenMode::Read | OpenMode::Write, found) => {
                state.whole(Operation::Open)?;
                found?
            }
            (OpenMode::CreateNew, Ok(_)) => return Err(ErrorKind::AlreadyExists.into()),
            (OpenMode::CreateOrEmpty, Ok(inode)) => {
                state.change(Operation::SetLen, inode, ChangeKind::SetLen(0))?;
                inode
            }
            (OpenMode::CreateNew | OpenMode::CreateOrEmpty, Err(_)) => {
                state.make(path, Inode::default())?
            }
        };
        drop(state);
        Ok(self.file(inode))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let ancestors: Vec<_> = path.ancestors().collect();
        for folder in ancestors.into_iter().rev() {
            match state.folder(folder) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    state.make(folder, Inode { is_folder: true, ..Inode::default() })?;
                }
                Err(_) => return Err(ErrorKind::AlreadyExists.into()),
            }
        }
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let mut state = self.state();
        state.whole(Operation::List)?;
        let within = state.folder(folder)?;
        let inside = state.names.iter().filter(|(_, named)| named.folder == within);
        let entry = |(path, named): (&PathBuf, &Named)| {
            let is_folder = state.inodes[named.inode].is_folder;
            let kind = if is_folder { EntryKind::Folder } else { EntryKind::File };
            Some(Entry { name: path.file_name()?.to_str()?.to_owned(), kind })
        };
        Ok(inside.filter_map(entry).collect())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let mut state = self.state();
        let inode = state.inode(path)?;
        state.whole(Operation::Len)?;
        Ok(state.inodes[inode].now.len() as u64)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode(from)?;
        state.change_names(Operation::Rename, Some(from.to_path_buf()), Some((to, inode)))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.inode(path)?;
        state.change_names(Operation::Remove, Some(path.to_path_buf()), None)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.folder(path)?;
        let inside = state.names.keys().filter(|name| name.starts_with(path)).cloned();
        // Names come in order, so that a folder stands before what is in it.
        for name in inside.collect::<Vec<_>>().into_iter().rev() {
            state.change_names(Operation::Remove, Some(name), None)?;
        }
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.whole(Operation::SyncFolder)?;
        if state.honesty == Honesty::LiesAboutFolders {
            return Ok(());
        }
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
        self.now.apply(&change.kind);
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
        let mut state = self.disk.state();
        state.whole(Operation::Len)?;
        Ok(state.inodes[self.inode].now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.whole(Operation::Read)?;
        Ok(state.inodes[self.inode].now.read(position as usize, buffer))
    }

    fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let write = ChangeKind::write(parts, position);
        self.disk.state().change(Operation::Write, self.inode, write)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let cut = ChangeKind::SetLen(len as usize);
        self.disk.state().change(Operation::SetLen, self.inode, cut)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.state().sync(self.inode)
    }

    fn map(&self, len: u64) -> io::Result<Mapping> {
        let mut state = self.disk.state();
        state.whole(Operation::Map)?;
        let data = state.inodes[self.inode].now.data();
        let len = data.len().min(len as usize);
        Ok(Mapping::of_bytes(Bytes::copy_from_slice(&data[..len])))
    }
}
