package results

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"idlegrid/agent/peer/durable"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
)

// The names in a results folder.
const (
	unitsFolder    = "units"
	indexFile      = "units.json"
	combinedFolder = "combined"
	jobFile        = "job.json"
	stdoutFile     = "stdout"
	stderrFile     = "stderr"
	metaFile       = "meta.json"
	outFolder      = "out"

	tempPrefix = ".tmp-" // durable's, too
	unitDigits = 6
)

// MaxUnits bounds the units of a folder: each is four files, and past this no file system makes anyone happy.
const MaxUnits = 4_000_000

const (
	filePerm   = 0o666 // less what the user masks
	folderPerm = 0o777
)

// Job says whose results a folder holds.
type Job struct {
	// ID is the job's ID or, for a run without a grid, a digest of all that its outcomes depend on.
	ID    jobs.Digest
	Name  string
	Units uint64
	// Local is whether the units are run here, without a grid.
	Local bool
	// Replace lets Open remove the results of a job that was run here and is not this one, such as this one
	// before it changed. They cost hours maybe, so that is somebody's wish and no default.
	Replace bool
}

// Folder is an open results folder. Its methods may be called from several goroutines.
type Folder struct {
	root     *os.Root
	dir      string
	job      Job
	replaced bool

	mu       sync.Mutex // guards everything below
	rows     []Row      // one a unit
	combined bool       // whether there may be a combined/
}

// Open opens or makes the results folder of a job. A folder with the results of another job is an error of
// kind jobs.Exists, unless both were run without a grid: then the old ones are removed.
func Open(dir string, job Job) (*Folder, error) {
	if job.Units > MaxUnits {
		return nil, jobs.WithHint(jobs.Errorf(jobs.Exhausted, "the job has %d units, a folder holds at most %d",
			job.Units, MaxUnits), "let each unit do more of the work")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the results folder: %w", err)
	}
	if err := os.MkdirAll(dir, folderPerm); err != nil {
		return nil, fmt.Errorf("make the results folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the results folder: %w", err)
	}
	f := &Folder{root: root, dir: dir, job: job, combined: true}
	if err := f.prepare(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return f, nil
}

// Free returns an error of kind jobs.Exists if a folder holds the results of a job: it can take those of no new one.
func Free(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("find the results folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the results folder: %w", err)
	}
	f := &Folder{root: root, dir: dir}
	old, err := f.readLabel()
	switch {
	case err != nil:
	case old != label{}:
		err = f.taken(fmt.Sprintf("holds the results of another job, %.64q", old.Name))
	default:
		err = f.refuseStrangers()
	}
	return errors.Join(err, root.Close())
}

// prepare makes the folder the job's, and removes what an interrupted run left half-made.
func (f *Folder) prepare() error {
	if err := f.claim(); err != nil {
		return err
	}
	if err := f.root.MkdirAll(unitsFolder, folderPerm); err != nil {
		return fmt.Errorf("make the units' folder: %w", err)
	}
	f.rows = make([]Row, f.job.Units)
	for unit := range f.rows {
		f.rows[unit] = Row{Unit: uint64(unit), Status: ledger.Open}
	}
	return errors.Join(f.sweep("."), f.sweep(unitsFolder))
}

// label is the content of job.json.
type label struct {
	Job   string `json:"job"`
	Name  string `json:"name"`
	Units uint64 `json:"units"`
	Local bool   `json:"local"`
}

// claim checks that the folder is the job's or nobody's, and writes so into it.
func (f *Folder) claim() error {
	mine := label{Job: f.job.ID.String(), Name: f.job.Name, Units: f.job.Units, Local: f.job.Local}
	old, err := f.readLabel()
	switch {
	case err != nil:
		return err
	case old == mine:
		return nil
	case old.Job == mine.Job && old.Local == mine.Local: // A local job may get more units.
	case old.Local && mine.Local && !f.job.Replace:
		return jobs.WithHint(jobs.Errorf(jobs.Exists, "%s holds the results of a run of %.64q with another program, input or arguments", f.dir, old.Name),
			"choose another folder with -d, or remove the old results with --replace")
	case old.Local && mine.Local:
		if err := f.clear(); err != nil {
			return err
		}
		f.replaced = true
	case old.Local:
		return f.taken(fmt.Sprintf("holds the results of a run of %.64q on this machine, not on a grid", old.Name))
	case old != label{}:
		return f.taken(fmt.Sprintf("holds the results of another job, %.64q", old.Name))
	default:
		if err := f.refuseStrangers(); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(mine, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", jobFile, err)
	}
	return durable.WriteFile(f.root, jobFile, append(text, '\n'), filePerm&^0o022)
}

// readLabel returns the zero label where there is none.
func (f *Folder) readLabel() (label, error) {
	var old label
	text, err := readFile(f.root, jobFile, maxMeta)
	if errors.Is(err, fs.ErrNotExist) {
		return old, nil
	}
	if err != nil {
		return old, fmt.Errorf("read %s: %w", jobFile, err)
	}
	if json.Unmarshal(text, &old) != nil || old.Job == "" {
		return label{}, f.taken("has a " + jobFile + " that is not gridctl's")
	}
	return old, nil
}

// refuseStrangers keeps this package from taking over folders that it did not make.
func (f *Folder) refuseStrangers() error {
	for _, name := range []string{unitsFolder, indexFile, combinedFolder} {
		if _, err := f.root.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return f.taken("has a " + name + " that is not gridctl's")
		}
	}
	return nil
}

func (f *Folder) taken(why string) error {
	return jobs.WithHint(jobs.Errorf(jobs.Exists, "%s %s", f.dir, why), "choose another folder with -d")
}

func (f *Folder) clear() error {
	for _, name := range []string{indexFile, combinedFolder, unitsFolder} {
		if err := f.root.RemoveAll(name); err != nil {
			return fmt.Errorf("remove the results of the job before it changed: %w", err)
		}
	}
	return nil
}

// sweep removes what was left half-made, and folders of units that the job does not have.
func (f *Folder) sweep(folder string) error {
	entries, err := fs.ReadDir(f.root.FS(), folder)
	if err != nil {
		return fmt.Errorf("list the results: %w", err)
	}
	for _, e := range entries {
		stale := folder == unitsFolder && isNumber(e.Name()) && !f.isUnit(e.Name())
		if !stale && !strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		if err := f.root.RemoveAll(path.Join(folder, e.Name())); err != nil {
			return fmt.Errorf("remove what an earlier run left: %w", err)
		}
	}
	return nil
}

// Replaced reports whether Open removed the results of the job as it was before it changed.
func (f *Folder) Replaced() bool { return f.replaced }

// Dir returns the folder's absolute path.
func (f *Folder) Dir() string { return f.dir }

// Close releases the folder. It writes nothing: see Save.
func (f *Folder) Close() error { return f.root.Close() }
