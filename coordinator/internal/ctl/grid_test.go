package ctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

// TestPickJob names jobs as people do. Their IDs are hashes, so that a script cannot make two begin alike.
func TestPickJob(t *testing.T) {
	job := func(name string, id ...byte) records.Job {
		j := records.Job{Manifest: &manifest.Manifest{Name: name}}
		copy(j.ID[:], id)
		return j
	}
	// Oldest first.
	all := []records.Job{
		job("tour", 0xab, 0xcd, 0xef, 1), job("tour", 0xab, 0xcd, 0xef, 2), job("abcdef", 0xee), job("beef", 0x12),
	}
	tests := map[string]struct {
		want int // index in all, -1: none
		err  string
	}{
		"tour":                             {want: 1},
		"abcdef01":                         {want: 0},
		"ABCDEF02":                         {want: 1},
		"abcdef":                           {want: -1, err: `"abcdef" is the beginning of 2 job IDs`},
		"abcdef03":                         {want: -1, err: `no live job "abcdef03" of yours is known`},
		"12":                               {want: -1, err: `no live job "12"`},
		"beef":                             {want: 3},
		"120000":                           {want: 3},
		"":                                 {want: -1, err: `no live job ""`},
		job("", 0xee).ID.String():          {want: 2},
		job("", 0xee).ID.String() + "0":    {want: -1, err: "no live job"},
		"a name\x1b[31m of a strange kind": {want: -1, err: "no live job"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := pickJob(all, name)
			if test.want < 0 {
				if err == nil || !strings.Contains(err.Error(), test.err) || jobs.HintOf(err) == "" {
					t.Errorf("got %v, %v with hint %q, expected an error with %q and a hint", got.ID, err, jobs.HintOf(err), test.err)
				}
				return
			}
			if err != nil || got.ID != all[test.want].ID {
				t.Errorf("got %v, %v, expected %v", got.ID, err, all[test.want].ID)
			}
		})
	}
}

// TestCandidates lists the jobs that an ambiguous prefix may mean: at most five, the newest first, and one that
// was typed wrong.
func TestCandidates(t *testing.T) {
	var all []records.Job
	for n := range byte(7) {
		j := records.Job{Manifest: &manifest.Manifest{
			Name: "job" + string('a'+rune(n)), Created: time.Date(2026, 11, 25, 12, int(n), 0, 0, time.Local),
		}}
		copy(j.ID[:], []byte{0xab, 0xcd, 0xef, n})
		all = append(all, j)
	}
	_, err := pickJob(all, "abcdef")
	want := `"abcdef" is the beginning of 7 job IDs:
  abcdef060000  jobg  created 2026-11-25 12:06
  abcdef050000  jobf  created 2026-11-25 12:05
  abcdef040000  jobe  created 2026-11-25 12:04
  abcdef030000  jobd  created 2026-11-25 12:03
  abcdef020000  jobc  created 2026-11-25 12:02
  and 2 more`
	if err == nil || err.Error() != want || jobs.HintOf(err) != "give more digits" || exitCode(err) != exitUsage {
		t.Errorf("got %v, expected %s", err, want)
	}
	_, err = pickJob(append(all, records.Job{Manifest: &manifest.Manifest{Name: "tour"}}), "tuor")
	if err == nil || jobs.HintOf(err) != "did you mean tour?" {
		t.Errorf("got %v with hint %q", err, jobs.HintOf(err))
	}
}

// TestInputChanged changes an input after it was hashed and before it is uploaded.
func TestInputChanged(t *testing.T) {
	oneGrid := NewGrid(t)
	a := &app{stdout: t.Output(), stderr: t.Output(), config: filepath.Join(t.TempDir(), "login")}
	if err := a.login(t.Context(), oneGrid.Token(identity.Grant{Role: peer.Submitter}, time.Hour)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("program.wasm", "not looked at")
	write("input.txt", "as it was")
	write("job.yaml", "name: changed\nprogram: program.wasm\ninputs: [input.txt]\nunits: {count: 1}\n")
	spec, err := manifest.Load(filepath.Join(dir, "job.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	g, err := a.openGrid(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.close(); err != nil {
			t.Error(err)
		}
	}()
	build, err := spec.Build(g.id.ID(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	write("input.txt", "as it is!")
	_, err = g.submit(t.Context(), build)
	if err == nil || !strings.Contains(err.Error(), "input.txt changed since it was checked") || jobs.HintOf(err) != "submit again" {
		t.Errorf("got %v with hint %q", err, jobs.HintOf(err))
	}
	if exitCode(err) != exitUsage {
		t.Errorf("exit code %d, expected %d", exitCode(err), exitUsage)
	}
}
