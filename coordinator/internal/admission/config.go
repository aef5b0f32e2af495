// Package admission decides who may join the grid and which jobs may enter it: it redeems tokens, renews
// certificates, and countersigns manifests that are within the operator's limits and whose blobs are here.
//
// It is asked once a job and once in a machine's certificate life, and is on no other path. Everything that
// it is told by callers is checked again by every peer.
package admission

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/goccy/go-yaml"

	"idlegrid/agent/peer/durable"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

// ConfigFile is the name of the limits file in the coordinator's state folder.
const ConfigFile = "coordinator.yaml"

// maxConfig bounds the limits file, in bytes.
const maxConfig = 64 << 10

// Config is the operator's limits.
type Config struct {
	MaxAgents           int    `yaml:"max_agents"`
	MaxJobsPerSubmitter int    `yaml:"max_jobs_per_submitter"`
	MaxUnits            uint64 `yaml:"max_units"`
	MaxMemoryMiB        uint64 `yaml:"max_memory_mib"`
	MaxTimeoutMinutes   int    `yaml:"max_timeout_minutes"`
	MaxKeepDays         int    `yaml:"max_keep_days"`
	MaxJobMiB           int64  `yaml:"max_job_mib"`
	MaxDiskMiB          int64  `yaml:"max_disk_mib"`
	MetricsSubmitters   bool   `yaml:"metrics_submitters"`
}

// configText is what init writes; it must parse to the defaults.
const configText = `# What the coordinator admits. Read when it starts.

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
`

// WriteConfig writes the limits file with its defaults.
func WriteConfig(dir *os.Root) error {
	return durable.WriteFile(dir, ConfigFile, []byte(configText), 0o644)
}

// LoadConfig reads the limits file. A key that is missing has its default, an unknown one is an error.
func LoadConfig(dir *os.Root) (Config, error) {
	c, err := parseConfig([]byte(configText))
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
	if len(bytes.TrimSpace(text)) == 0 {
		return c, nil
	}
	if err := c.read(text); err != nil {
		return c, jobs.WithHint(err, "%s in %s; `gridcoordinator init` in an empty folder writes one with all keys and their defaults",
			ConfigFile, dir.Name())
	}
	return c, nil
}

func parseConfig(text []byte) (Config, error) {
	var c Config
	return c, c.read(text)
}

// read sets what the text names and checks the result.
func (c *Config) read(text []byte) error {
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(c); err != nil {
		return jobs.Errorf(jobs.Invalid, "%s: %s", ConfigFile, yaml.FormatError(err, false, false))
	}
	return c.validate()
}

func (c *Config) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, jobs.Errorf(jobs.Invalid, ConfigFile+": "+format, args...))
		}
	}
	check(c.MaxAgents >= 1 && c.MaxAgents <= 1000, "max_agents: %d, expected 1 to 1000", c.MaxAgents)
	check(c.MaxJobsPerSubmitter >= 1, "max_jobs_per_submitter: %d, expected at least 1", c.MaxJobsPerSubmitter)
	check(c.MaxUnits >= 1 && c.MaxUnits <= manifest.MaxUnits, "max_units: %d, expected 1 to %d", c.MaxUnits, manifest.MaxUnits)
	check(c.MaxMemoryMiB >= 1 && c.MaxMemoryMiB <= manifest.MaxMemory>>20,
		"max_memory_mib: %d, expected 1 to %d", c.MaxMemoryMiB, manifest.MaxMemory>>20)
	check(c.MaxTimeoutMinutes >= 1 && c.MaxTimeoutMinutes <= int(manifest.MaxTimeout/time.Minute),
		"max_timeout_minutes: %d, expected 1 to %d", c.MaxTimeoutMinutes, manifest.MaxTimeout/time.Minute)
	check(c.MaxKeepDays >= 1 && c.MaxKeepDays <= 30, "max_keep_days: %d, expected 1 to 30", c.MaxKeepDays)
	check(c.MaxJobMiB >= 1 && c.MaxJobMiB <= manifest.MaxBlob>>20, "max_job_mib: %d, expected 1 to %d", c.MaxJobMiB, manifest.MaxBlob>>20)
	check(c.MaxDiskMiB >= 1 && c.MaxDiskMiB <= manifest.MaxBlob>>20, "max_disk_mib: %d, expected 1 to %d", c.MaxDiskMiB, manifest.MaxBlob>>20)
	return errors.Join(errs...)
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
