package policy

import (
	"fmt"
	"path"
	"strings"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

// Unlimited is the rate and the size that is no limit.
const Unlimited = int64(1) << 62

// Values are what a policy says, each in bounds.
type Values struct {
	InUse, Away Use

	Disk       int64         // bytes of programs, inputs, packs and checkpoints that are kept; Unlimited: the agent's own limit only
	FreeMemory float64       // share of the machine's memory that stays available to others, 0 to 0.9
	Idle       time.Duration // without input, until work starts
	IdleLocked time.Duration // the same while all sessions are locked
	Resume     time.Duration // without input and other reasons, until frozen work goes on
	GiveBack   time.Duration // frozen, until work goes back

	OnBattery      bool
	MinCharge      float64 // of the battery, 0 to 1
	MaxTemperature float64 // °C; 0: no limit
	Metered        bool    // work although the network costs by the byte
	Presenting     bool    // work although a full-screen program runs
	Hours          Hours
	Exclusive      []string // programs during which nothing runs
	Native         bool     // native programs may run
	Submitters     []string // beginnings of the key IDs of those whose jobs are refused
	Jobs           []string // patterns of the names of jobs that are refused
}

// Use is how much the grid may have, while the owner uses the PC or is away.
type Use struct {
	Cores     Amount
	Others    float64 // share of all cores that others may use before work yields, 0 to 1
	Memory    float64 // share of the machine's memory for units, frozen ones too, 0 to 0.9
	DiskWrite int64   // bytes a second
	Network   int64   // bytes a second, both ways together
}

// Least returns what both allow.
func (u Use) Least(other Use, cores int) Use {
	return Use{
		Cores:  Amount{N: min(u.Cores.Of(cores), other.Cores.Of(cores))},
		Others: min(u.Others, other.Others), Memory: min(u.Memory, other.Memory),
		DiskWrite: min(u.DiskWrite, other.DiskWrite), Network: min(u.Network, other.Network),
	}
}

// Amount is a number of cores or a share of all.
type Amount struct {
	N       int
	Percent bool
}

// Of returns the cores that are meant on a machine with so many: of a share above zero at least one.
func (a Amount) Of(cores int) int {
	switch {
	case !a.Percent:
		return min(a.N, cores)
	case a.N > 0:
		return max(1, cores*a.N/100)
	}
	return 0
}

func (a Amount) String() string {
	if a.Percent {
		return fmt.Sprintf("%d%%", a.N)
	}
	return fmt.Sprint(a.N)
}

// Takes says why a job may not run here; nil: it may.
func (v Values) Takes(m *manifest.Manifest) error {
	submitter := m.Submitter.String()
	for _, s := range v.Submitters {
		if strings.HasPrefix(submitter, s) {
			return jobs.Errorf(jobs.Denied, "job %s: this PC's policy refuses jobs of submitter %s", m.Name, m.Submitter.Short())
		}
	}
	for _, pattern := range v.Jobs {
		// The pattern was checked when it was read.
		if ok, err := path.Match(pattern, m.Name); err == nil && ok {
			return jobs.Errorf(jobs.Denied, "job %s: this PC's policy refuses jobs named %s", m.Name, pattern)
		}
	}
	if m.Runtime != manifest.RuntimeWasm && !v.Native {
		return jobs.Errorf(jobs.Denied, "job %s: this PC's policy allows no programs of runtime %s", m.Name, m.Runtime)
	}
	return nil
}
