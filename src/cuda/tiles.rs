//! Which tiles a matrix product is computed in. All that a product has give the same bits, so that the choice is one of speed alone: by rule, or
//! by what was the fastest of them on the device at hand, measured once for each size and kept in a file from run to run.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::Cuda;
use super::driver::Driver;
use crate::atomic;
use crate::error::{Error, Result};

/// Tiles of the matrix main loop; kernels/gemm.cuh has the tilings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tiles {
    /// 32 x 64.
    Short,
    /// 64 x 64.
    Square,
    /// 128 x 128.
    Wide,
}

impl Tiles {
    /// All.
    pub const ALL: [Tiles; 3] = [Tiles::Short, Tiles::Square, Tiles::Wide];

    /// Rows of a tile.
    pub fn rows(self) -> usize {
        match self {
            Tiles::Short => 32,
            Tiles::Square => 64,
            Tiles::Wide => 128,
        }
    }

    /// Columns of a tile.
    pub fn columns(self) -> usize {
        match self {
            Tiles::Short | Tiles::Square => 64,
            Tiles::Wide => 128,
        }
    }

    /// Threads of the block that computes one; `DEEP_THREADS` and `WIDE_THREADS` in the kernels.
    pub fn threads(self) -> u32 {
        match self {
            Tiles::Short | Tiles::Square => 256,
            Tiles::Wide => 512,
        }
    }

    /// What the names of kernels have behind that of the product.
    pub fn suffix(self) -> &'static str {
        match self {
            Tiles::Short => "_short",
            Tiles::Square => "",
            Tiles::Wide => "_wide",
        }
    }

    /// Tiles of an output of so many rows, and of columns.
    pub fn grid(self, rows: usize, columns: usize) -> [usize; 2] {
        [rows.div_ceil(self.rows()), columns.div_ceil(self.columns())]
    }

    /// How many tiles that is.
    pub fn count(self, rows: usize, columns: usize) -> usize {
        let [down, across] = self.grid(rows, columns);
        down * across
    }
}

/// How tiles are chosen.
#[derive(Clone, Default)]
pub enum Tiling {
    /// By a rule of thumb.
    #[default]
    Rule,
    /// These, for all products that have them.
    Always(Tiles),
    /// The fastest on this device.
    Fastest(Rc<Measured>),
}

/// From so many wide tiles on the rule takes them: one for most of the multiprocessors of a large card. Not measured.
pub const WIDE_TILES: usize = 96;

/// Whether the rule takes wide tiles.
pub fn widens(rows: usize, columns: usize) -> bool {
    rows.min(columns) > Tiles::Square.columns() && Tiles::Wide.count(rows, columns) >= WIDE_TILES
}

/// A product, and what it can be computed in.
pub struct Product<'a> {
    /// Its kernel, without tiles and precision, and its sizes: what its times hang on, with the precision.
    pub name: String,
    /// Tiles that there are kernels of.
    pub has: &'a [Tiles],
    /// Those of the rule.
    pub rule: Tiles,
}

/// The tiles to compute a product in. `rehearse` queues it in given tiles, and may do so any number of times before the product is wanted; it says
/// whether there is room for that.
pub fn choose<D: Driver>(
    cuda: &Cuda<D>,
    product: Product,
    rehearse: &mut dyn FnMut(Tiles) -> Result<bool>,
) -> Result<Tiles> {
    let measured = match &cuda.tiling {
        Tiling::Rule => return Ok(product.rule),
        Tiling::Always(tiles) if product.has.contains(tiles) => return Ok(*tiles),
        Tiling::Always(_) => return Ok(product.rule),
        Tiling::Fastest(measured) => measured,
    };
    if let [only] = product.has {
        return Ok(*only);
    }
    let name = format!("{} in {}", product.name, cuda.precision.name());
    if let Some(tiles) = measured.get(&name).filter(|tiles| product.has.contains(tiles)) {
        return Ok(tiles);
    }
    // What is recorded does not run yet, and a profile is to show what was asked for alone.
    if cuda.recorder.borrow().is_some() || cuda.profile.borrow().is_some() {
        return Ok(product.rule);
    }
    // The first launch of a kernel takes longer.
    for &tiles in product.has {
        if !rehearse(tiles)? {
            return Ok(product.rule);
        }
    }
    let times = time(cuda, &product, rehearse)?;
    let tiles = fastest(product.rule, &times);
    measured.put(name, tiles);
    Ok(tiles)
}

/// Launches a product that can be repeated at will, of rows x columns x depth, in the tiles that are chosen for it.
pub fn multiply<D: Driver>(
    cuda: &Cuda<D>,
    kernel: &str,
    [rows, columns, depth]: [usize; 3],
    has: &[Tiles],
    launch: &mut dyn FnMut(Tiles) -> Result<()>,
) -> Result<()> {
    let product = Product {
        name: format!("{kernel} of {rows} x {columns} x {depth}"),
        has,
        rule: match has.contains(&Tiles::Wide) && widens(rows, columns) {
            true => Tiles::Wide,
            false => Tiles::Square,
        },
    };
    let tiles = choose(cuda, product, &mut |tiles| launch(tiles).map(|()| true))?;
    launch(tiles)
}

/// Launches that are timed together take about so many microseconds, much longer than a device takes to start; up to so many launches.
const TIMED: f64 = 200.0;
const MOST_LAUNCHES: usize = 32;

/// How often they are timed; the shortest time counts.
const ROUNDS: usize = 3;

/// Microseconds that a product takes in each of its tiles. Launches are replayed, as those of steps are: one by one, short kernels would wait for the
/// host.
fn time<D: Driver>(
    cuda: &Cuda<D>,
    product: &Product,
    rehearse: &mut dyn FnMut(Tiles) -> Result<bool>,
) -> Result<Vec<(Tiles, f64)>> {
    let driver = &*cuda.driver;
    // Queues beside this one, which would be measured too: nobody gives them anything meanwhile.
    driver.synchronize()?;
    let microseconds = |run: &mut dyn FnMut() -> Result<()>| {
        let before = driver.mark()?;
        run()?;
        driver.microseconds(&before, &driver.mark()?)
    };
    let once = microseconds(&mut || rehearse(product.rule).map(drop))?;
    let launches = ((TIMED / once) as usize).clamp(1, MOST_LAUNCHES);
    let record = |&tiles: &Tiles| {
        let graph = driver.capture(&mut || (0..launches).try_for_each(|_| rehearse(tiles).map(drop)));
        graph.map(|graph| (tiles, graph))
    };
    let graphs = product.has.iter().map(record).collect::<Result<Vec<_>>>()?;
    let mut times: Vec<_> = product.has.iter().map(|&tiles| (tiles, f64::INFINITY)).collect();
    // By turns, so that a clock that is still rising favours none; the first round warms up.
    for round in 0..=ROUNDS {
        for ((_, shortest), (_, graph)) in times.iter_mut().zip(&graphs) {
            let time = microseconds(&mut || driver.replay(graph))? / launches as f64;
            if round > 0 {
                *shortest = shortest.min(time);
            }
        }
    }
    Ok(times)
}

/// Others than those of the rule are taken where they need less than this share of its time: what is less is noise.
const GAIN: f64 = 0.97;

/// The tiles of the shortest time, or those of the rule.
fn fastest(rule: Tiles, times: &[(Tiles, f64)]) -> Tiles {
    let of_rule = times.iter().find(|(tiles, _)| *tiles == rule);
    let limit = of_rule.map_or(f64::INFINITY, |(_, time)| GAIN * time);
    times
        .iter()
        .filter(|(_, time)| *time < limit)
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(rule, |(tiles, _)| *tiles)
}

/// Products for which tiles are kept, at most: those of files whose last rows are another number each time would otherwise be kept for good.
const MOST_KEPT: usize = 4096;

/// Tiles that were measured, by the products' names.
type Table = BTreeMap<String, Tiles>;

/// What a file keeps of one device.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// Of the kernels that were measured.
    fingerprint: String,
    tiles: Table,
}

/// What was measured on one device, so far and in earlier runs.
pub struct Measured {
    table: RefCell<Table>,
    changed: Cell<bool>,
    keeper: Option<Keeper>,
}

/// Where it is kept, and of what.
struct Keeper {
    file: PathBuf,
    device: String,
    fingerprint: String,
}

impl Measured {
    /// Nothing yet, and nothing is kept.
    pub fn new() -> Self {
        Measured {
            table: RefCell::default(),
            changed: Cell::new(false),
            keeper: None,
        }
    }

    /// What `file` keeps of `device` for the kernels of this `fingerprint`; nothing where it cannot be read, or is no such file. What is
    /// measured is added to it when this is dropped, in place of what it has of other kernels.
    pub fn kept_in(file: PathBuf, device: String, fingerprint: String) -> Self {
        let keeper = Keeper {
            file,
            device,
            fingerprint,
        };
        Measured {
            table: RefCell::new(keeper.of_these(&mut read(&keeper.file)).tiles.clone()),
            changed: Cell::new(false),
            keeper: Some(keeper),
        }
    }

    fn get(&self, product: &str) -> Option<Tiles> {
        self.table.borrow().get(product).copied()
    }

    fn put(&self, product: String, tiles: Tiles) {
        let mut table = self.table.borrow_mut();
        if table.len() >= MOST_KEPT {
            table.clear();
        }
        table.insert(product, tiles);
        self.changed.set(true);
    }

    /// Adds what was measured to the file.
    fn keep(&self) -> Result<()> {
        let Some(keeper) = self.keeper.as_ref().filter(|_| self.changed.get()) else {
            return Ok(());
        };
        if let Some(folder) = keeper.file.parent() {
            fs::create_dir_all(folder).map_err(|e| Error::io(folder, "make the folder", e))?;
        }
        // Others may have written meanwhile.
        let mut all = read(&keeper.file);
        let kept = keeper.of_these(&mut all);
        kept.tiles.extend(self.table.borrow().clone());
        if kept.tiles.len() > MOST_KEPT {
            kept.tiles.clone_from(&self.table.borrow());
        }
        let text = serde_json::to_string_pretty(&all).expect("strings and names");
        atomic::write(&keeper.file, text + "\n")
    }
}

impl Keeper {
    /// What a file keeps of this device and these kernels.
    fn of_these<'a>(&self, all: &'a mut BTreeMap<String, Kept>) -> &'a mut Kept {
        let kept = all.entry(self.device.clone()).or_default();
        if kept.fingerprint != self.fingerprint {
            *kept = Kept {
                fingerprint: self.fingerprint.clone(),
                tiles: Table::new(),
            };
        }
        kept
    }
}

impl Default for Measured {
    fn default() -> Self {
        Measured::new()
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        // Results do not hang on it: where it cannot be written, the next run measures again.
        let _ = self.keep();
    }
}

/// What a file keeps of all devices.
fn read(file: &Path) -> BTreeMap<String, Kept> {
    let text = fs::read_to_string(file).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_than_the_rules_tiles_are_taken_for_a_clear_gain_only() {
        let times = |short, square, wide| {
            [
                (Tiles::Short, short),
                (Tiles::Square, square),
                (Tiles::Wide, wide),
            ]
        };
        for (rule, times, chosen) in [
            (Tiles::Square, times(9.0, 10.0, 11.0), Tiles::Short),
            (Tiles::Square, times(9.8, 10.0, 11.0), Tiles::Square),
            (Tiles::Square, times(9.0, 10.0, 8.0), Tiles::Wide),
            (Tiles::Wide, times(9.9, 10.0, 10.0), Tiles::Wide),
            (Tiles::Wide, times(9.9, 9.0, 10.0), Tiles::Square),
            // A card that did not tell.
            (Tiles::Square, times(f64::NAN, 10.0, f64::NAN), Tiles::Square),
        ] {
            assert_eq!(fastest(rule, &times), chosen, "{rule:?}, {times:?}");
        }
    }

    #[test]
    fn what_was_measured_is_kept_for_each_device_and_the_kernels_of_the_day() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("in a folder/tiles.json");
        let open_for = |device: &str, kernels: &str| {
            Measured::kept_in(file.clone(), device.to_string(), kernels.to_string())
        };
        let open = |device: &str| open_for(device, "k1");
        {
            let (one, again, other) = (open("one"), open("one"), open("other"));
            one.put("a".into(), Tiles::Wide);
            again.put("c".into(), Tiles::Square);
            other.put("a".into(), Tiles::Short);
            other.put("b".into(), Tiles::Square);
        }
        assert_eq!(open("one").get("a"), Some(Tiles::Wide));
        assert_eq!(open("one").get("c"), Some(Tiles::Square), "side by side");
        assert_eq!(open("one").get("b"), None);
        assert_eq!(open("other").get("a"), Some(Tiles::Short));
        assert_eq!(open("other").get("b"), Some(Tiles::Square));
        assert_eq!(open("none").get("a"), None);
        // Nothing new, nothing written.
        let before = fs::metadata(&file).unwrap().modified().unwrap();
        drop(open("one"));
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before);
        // Other kernels take the place.
        let newer = open_for("one", "k2");
        assert_eq!(newer.get("a"), None);
        newer.put("a".into(), Tiles::Square);
        drop(newer);
        assert_eq!(open_for("one", "k2").get("a"), Some(Tiles::Square));
        assert_eq!(open("one").get("a"), None);
        assert_eq!(open("other").get("a"), Some(Tiles::Short));
        // Others have changed the file: what it says is not believed, and it is written anew.
        let unknown = "{\"one\": {\"fingerprint\": \"k1\", \"tiles\": {\"a\": \"round\"}}}";
        for damage in [unknown, "{", "", "[1]"] {
            fs::write(&file, damage).unwrap();
            let measured = open("one");
            assert_eq!(measured.get("a"), None, "{damage}");
            measured.put("c".into(), Tiles::Wide);
            drop(measured);
            assert_eq!(open("one").get("c"), Some(Tiles::Wide), "{damage}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a file");
        fs::write(&file, "").unwrap();
        let measured = Measured::kept_in(file.join("tiles.json"), "one".into(), "k1".into());
        measured.put("a".into(), Tiles::Wide);
        assert!(measured.keep().is_err());
        assert_eq!(measured.get("a"), Some(Tiles::Wide));
    }
}
