package harvest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"time"

	"idlegrid/agent/peer/durable"
	"idlegrid/jobs"
)

const (
	figuresFile = "harvest.json"
	pauseFile   = "pause.json"
	// saveEvery is how often figures are written at most, if nobody says.
	saveEvery = time.Hour
	// keepDays is how many days have a figure of their own: this month's and the last one's.
	keepDays = 62
	// maxKept bounds the files, in bytes.
	maxKept = 1 << 20
)

// Files are what is kept in the state folder, for who removes it.
func Files() []string { return []string{figuresFile, pauseFile} }

// Disturbance is a way in which the owner may have noticed us.
type Disturbance string

// The kinds of disturbances.
const (
	Late    Disturbance = "late"    // from input to everything stopped over 250 ms
	Swapped Disturbance = "swapped" // others waited for memory, as after theirs was pushed out, while units ran or stood frozen
	Stalled Disturbance = "stalled" // others waited for the disk while blobs were written
)

// Disturbances returns all kinds.
func Disturbances() []Disturbance { return []Disturbance{Late, Swapped, Stalled} }

// tooLate is what a person notices as a delay, and the bound of Late.
const tooLate = 250 * time.Millisecond

// Figures are what is kept of how this agent behaved.
type Figures struct {
	Detect    Histogram                `json:"detect"` // from the owner's input to the decision
	Stop      Histogram                `json:"stop"`   // from a decision for fewer cores until that was so
	Sum       Histogram                `json:"sum"`    // both, where an input was the reason
	Disturbed map[Disturbance]uint64   `json:"disturbed,omitempty"`
	CPU       time.Duration            `json:"cpu_ns"`                // of useful work, of all days
	Days      map[string]time.Duration `json:"days_cpu_ns,omitempty"` // the same by the PC's days such as 2026-11-26
	Units     uint64                   `json:"units"`                 // that ended well
	Failed    uint64                   `json:"failed_units"`

	Day    string   `json:"day,omitempty"`    // when these were written, by the PC's clock, such as 2026-11-26
	Before *Figures `json:"before,omitempty"` // those that were written last before that day
}

// Harvest returns the CPU time of a time's day and month.
func (f *Figures) Harvest(at time.Time) (today, month time.Duration) {
	for name, cpu := range f.Days {
		if len(name) >= 7 && name[:7] == at.Format("2006-01") {
			month += cpu
		}
	}
	return f.Days[at.Format(time.DateOnly)], month
}

// ended counts a unit that ended well.
func (f *Figures) ended(cpu time.Duration, at time.Time) {
	f.Units++
	if cpu <= 0 {
		return
	}
	f.CPU += cpu
	if f.Days == nil {
		f.Days = map[string]time.Duration{}
	}
	f.Days[at.Format(time.DateOnly)] += cpu
	oldest := at.AddDate(0, 0, -keepDays).Format(time.DateOnly)
	maps.DeleteFunc(f.Days, func(name string, _ time.Duration) bool { return name < oldest })
}

func (f *Figures) disturbed(kind Disturbance) {
	if f.Disturbed == nil {
		f.Disturbed = map[Disturbance]uint64{}
	}
	f.Disturbed[kind]++
}

// clone returns a copy that shares nothing that changes.
func (f *Figures) clone() Figures {
	out := *f
	out.Disturbed, out.Days = maps.Clone(f.Disturbed), maps.Clone(f.Days)
	return out
}

// dated returns what to write at a time, after what was written last.
func (f *Figures) dated(at time.Time, last *Figures) Figures {
	out := f.clone()
	out.Day, out.Before = at.Format(time.DateOnly), last.Before
	if last.Day != out.Day {
		before := last.clone()
		before.Before = nil
		out.Before = &before
	}
	return out
}

// load reads a small JSON file; nothing there leaves to as it is.
func load(dir *os.Root, name string, to any) error {
	info, err := dir.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Size() > maxKept {
		return jobs.Errorf(jobs.Corrupt, "%s in %s has %d bytes, expected at most %d", name, dir.Name(), info.Size(), maxKept)
	}
	text, err := dir.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return jobs.Errorf(jobs.Corrupt, "%s in %s: %w", name, dir.Name(), err)
	}
	return nil
}

func save(dir *os.Root, name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return durable.WriteFile(dir, name, append(text, '\n'), 0o600)
}
