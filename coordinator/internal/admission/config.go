// Package admission decides who may join the grid and which jobs may enter it: it redeems tokens, renews
// certificates, and countersigns manifests that are within the operator's limits and whose blobs are here.
//
// It is asked once a job and once in a machine's certificate life, and is on no other path. Everything that
// it is told by callers is checked again by every peer.
package admission

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"idlegrid/agent/peer/durable"
	"idlegrid/coordinator/internal/costs"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

// ConfigFile is the name of the limits file in the coordinator's state folder.
const ConfigFile = "coordinator.yaml"

// maxConfig bounds the limits file, in bytes.
const maxConfig = 64 << 10

// Config is what the operator says: limits, and what the accounts are to be reckoned with.
type Config struct {
	MaxAgents           int
	MaxJobsPerSubmitter int
	MaxUnits            uint64
	MaxMemoryMiB        uint64
	MaxTimeoutMinutes   int
	MaxKeepDays         int
	MaxJobMiB           int64
	MaxDiskMiB          int64
	MetricsSubmitters   bool
	Costs               costs.Settings
}

// configText is what init writes; what it says are the defaults.
const configText = `# What the coordinator admits, and what it reckons with. Read when it starts.

# Agents in the pool. At most 1000; gossip is measured for 500.
max_agents: 500

# Live jobs of one submitter: not expired, cancelled or sealed.
max_jobs_per_submitter: 100

# Units of one job.
max_units: 10000000

# What one unit may ask for.
max_memory_mib: 4096
max_timeout_minutes: 1440

# How long a job and its results may be kept. At most 30.
max_keep_days: 30

# Program and inputs of one job together.
max_job_mib: 10240

# What this coordinator keeps on its own disk of programs and inputs.
max_disk_mib: 102400

# Whether the page for Prometheus has CPU time by submitter, and so names of people.
metrics_submitters: false

# What follows is for gridctl savings and the dashboard Harvest, which say energy, CO2 and money. Replace all of it with
# what is so where your PCs are.

# Watts that a core takes at the wall when it is busy, on top of what the PC takes anyway because it is on. An estimate,
# not a measurement (2026-11-27): a desktop that takes 25 W when idle and 90 W when its 8 logical cores work takes
# (90 - 25) / 8 = 8 W for each. A meter between a PC and the wall gives yours.
watts_per_core: 8

# What a kWh costs, in the currency below. About the average of commercial customers in the United States in 2023, near
# 12.7 cents (Energy Information Administration, Electric Power Annual, October 2024), rounded. Your bill has yours.
price_per_kwh: 0.13

# Grams of CO2 for a kWh. The average of generation in the United States in 2023: 0.81 pounds (Energy Information
# Administration, answers to frequent questions). Your supplier, or the statistics of your country, have yours.
co2_grams_per_kwh: 367

# Of all prices here.
currency: USD

# What an hour of a core costs elsewhere: at most 20, each with the day on which it was so. A core is what the system
# calls a processor, as a vCPU is. Replace them with your own offers.
# - The first is the list price of one vCPU without memory, on demand, as third parties quoted it in June 2026. It was not
#   checked with the provider.
# - The second is an example, of no real server: 10,000 for 32 cores that are half busy for 5 years make 0.014 an hour,
#   and 25 W for each busy one, cooling included, 0.003.
prices:
  - {name: "AWS Fargate vCPU, us-east-1", per_core_hour: 0.04048, date: 2026-06-17}
  - {name: "own server (example)", per_core_hour: 0.017, date: 2026-11-27}
`

// WriteConfig writes the limits file with its defaults.
func WriteConfig(dir *os.Root) error {
	return durable.WriteFile(dir, ConfigFile, []byte(configText), 0o644)
}

// LoadConfig reads the limits file. A key that is missing has its default, an unknown one is an error.
func LoadConfig(dir *os.Root) (Config, error) {
	c, err := DefaultConfig()
	if err != nil {
		return c, err
	}
	info, err := dir.Stat(ConfigFile)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if info.Size() > maxConfig {
		return c, jobs.Errorf(jobs.Invalid, "%s has %d bytes, expected at most %d", ConfigFile, info.Size(), maxConfig)
	}
	text, err := dir.ReadFile(ConfigFile)
	if err != nil {
		return c, err
	}
	if err := c.read(text); err != nil {
		return c, jobs.WithHint(err, "%s in %s; `gridcoordinator init` in an empty folder writes one with all keys and their defaults",
			ConfigFile, dir.Name())
	}
	return c, nil
}

// DefaultConfig returns what is so where the file says nothing.
func DefaultConfig() (Config, error) {
	var c Config
	return c, c.read([]byte(configText))
}

// admit says why a manifest is over the limits.
func (c *Config) admit(m *manifest.Manifest, now time.Time) error {
	over := func(what string, got, most any) error {
		return jobs.WithHint(jobs.Errorf(jobs.Denied, "%s: %v, this grid admits at most %v", what, got, most),
			"the operator sets the limits in the coordinator's %s", ConfigFile)
	}
	timeout := time.Duration(c.MaxTimeoutMinutes) * time.Minute
	keep := time.Duration(c.MaxKeepDays) * 24 * time.Hour
	switch {
	case m.Units > c.MaxUnits:
		return over("units", m.Units, c.MaxUnits)
	case m.Memory > c.MaxMemoryMiB<<20:
		return over("memory in MiB", (m.Memory+1<<20-1)>>20, c.MaxMemoryMiB)
	case m.Timeout > timeout:
		return over("timeout", m.Timeout, timeout)
	case m.Expires.Sub(m.Created) > keep:
		return over("keep", m.Expires.Sub(m.Created), keep)
	case !m.Expires.After(now):
		return jobs.Errorf(jobs.Expired, "the job expired on %s", m.Expires.Format(time.DateTime))
	case m.Created.After(now.Add(maxSkew)):
		return jobs.WithHint(jobs.Errorf(jobs.Invalid, "the job is dated %s, which is in the future", m.Created.Format(time.DateTime)),
			"compare this machine's clock with the coordinator's")
	}
	return nil
}

// maxSkew is how far a submitter's clock may be ahead of the coordinator's.
const maxSkew = 10 * time.Minute
