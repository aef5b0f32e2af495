package admission

import (
	"strings"
	"testing"

	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/jobs"
)

func TestConfigDefaults(t *testing.T) {
	dir := identitytest.Folder(t)
	want := Config{
		MaxAgents: 500, MaxJobsPerSubmitter: 100, MaxUnits: 10_000_000, MaxMemoryMiB: 4096, MaxTimeoutMinutes: 1440,
		MaxKeepDays: 30, MaxJobMiB: 10240, MaxDiskMiB: 102400,
	}
	without, err := LoadConfig(dir)
	if err != nil || without != want {
		t.Errorf("without a file: %+v, %v", without, err)
	}
	if err := WriteConfig(dir); err != nil {
		t.Fatal(err)
	}
	written, err := LoadConfig(dir)
	if err != nil || written != want {
		t.Errorf("as init writes it: %+v, %v", written, err)
	}
	if err := dir.WriteFile(ConfigFile, []byte("max_units: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want.MaxUnits = 7
	partly, err := LoadConfig(dir)
	if err != nil || partly != want {
		t.Errorf("with one key: %+v, %v", partly, err)
	}
}

func TestConfigRefused(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string
	}{
		"unknown key":  {"max_agent: 5\n", []string{"max_agent", "unknown field"}},
		"wrong type":   {"max_units: many\n", []string{"[1:12]", "MaxUnits"}},
		"negative":     {"max_units: -1\n", []string{"[1:12]", "-1"}},
		"no map":       {"- 5\n", []string{"coordinator.yaml"}},
		"no yaml":      {"max_units: [\n", []string{"coordinator.yaml"}},
		"zero":         {"max_job_mib: 0\n", []string{"max_job_mib: 0, expected 1 to 1048576"}},
		"too much":     {"max_timeout_minutes: 1441\n", []string{"max_timeout_minutes: 1441, expected 1 to 1440"}},
		"all at once":  {"max_agents: 1001\nmax_keep_days: 31\n", []string{"max_agents: 1001, expected 1 to 1000", "max_keep_days: 31, expected 1 to 30"}},
		"large":        {strings.Repeat("# much\n", maxConfig/7+1), []string{"bytes, expected at most 65536"}},
		"overflow":     {"max_memory_mib: 18446744073709551615\n", []string{"max_memory_mib"}},
		"largest unit": {"max_units: 1000000001\n", []string{"max_units: 1000000001, expected 1 to 1000000000"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := identitytest.Folder(t)
			if err := dir.WriteFile(ConfigFile, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := LoadConfig(dir)
			for _, want := range test.want {
				refused(t, err, jobs.Invalid, want)
			}
		})
	}
}
