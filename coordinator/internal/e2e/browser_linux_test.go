package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"idlegrid/agent/peer/records"
	"idlegrid/coordinator/internal/accounts"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// browserPackages are what the test in a browser needs from npm.
var browserPackages = []string{"playwright-core@1.65.1", "axe-core@4.14.1"}

// TestBrowser looks at the pages of a real grid in Chromium; testdata/browser.mjs of package web says what for. It needs
// node, npm with a registry, and Chromium, and is for `make page-test`: without PAGE_TEST=1 it is skipped. PAGE_PICTURES
// names a folder for pictures of all pages.
func TestBrowser(t *testing.T) {
	if os.Getenv("PAGE_TEST") == "" {
		t.Skip("PAGE TEST SKIPPED: it downloads what it needs; make page-test")
	}
	dir := t.TempDir()
	chromium := browserTools(t, dir)
	g := emptyGrid(t, patience)
	plantHarvest(t, filepath.Join(g.coordinator.state, accounts.File))
	g.openPage(always, always)
	id := g.submit(g.job("failing", 40, 1e6, "args: [\"${unit}\", \"4\"]\nretries: 0"))
	g.exits(3, "gridctl", "wait", id.String())
	get := g.browse(alice)
	g.until("the page knows that the job has ended", func() bool {
		_, text := get("/jobs/" + id.String())
		return strings.Contains(text, "incomplete") && strings.Contains(text, "<pre")
	})
	pictures := os.Getenv("PAGE_PICTURES")
	if pictures == "" {
		pictures = dir
	}
	link := func(who string, job ...string) (link string) {
		g.as(who, func() {
			link = strings.TrimSpace(g.must("gridctl", append([]string{"open", "--print"}, job...)...).stdout)
		})
		return link
	}
	settings, err := json.Marshal(map[string]string{
		"chromium": chromium, "pictures": pictures, "job": id.String(), "later": "spoken-of-later",
		"submitter": link(alice, id.String()), "operator": link(operator), "plain": link(alice),
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "settings.json")
	if err := os.WriteFile(file, settings, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(g.ctx, "node", "browser.mjs", file)
	cmd.Dir = dir
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch what, rest, _ := strings.Cut(lines.Text(), " "); what {
		case "READY":
			g.submit(g.job("spoken-of-later", 2, 1e6, ""))
		case "FIGURE":
			t.Log(rest)
		default:
			t.Error(lines.Text())
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, said.String())
	}
}

// plantHarvest writes four weeks of an office into the accounts of a coordinator that has not run yet: PCs that are offered
// by night and at weekends, and jobs of 25 people that have expired.
func plantHarvest(t *testing.T, path string) {
	t.Helper()
	book, err := accounts.New(accounts.Options{
		Path: path, Owner: func(by jobs.KeyID) string { return fmt.Sprintf("planted-%02d", by[0]) }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	const people = 25
	now := time.Now()
	spent := make([][]ledger.HourSpend, people)
	for at := now.Add(-28 * 24 * time.Hour); at.Before(now); at = at.Add(5 * time.Minute) {
		cores := 400
		if at.Weekday() != time.Saturday && at.Weekday() != time.Sunday && at.Hour() >= 8 && at.Hour() < 18 {
			cores = 40 + 5*at.Hour()
		}
		book.Saw(accounts.Look{Cores: cores}, at)
		if at.Minute() >= 5 {
			continue // once an hour
		}
		for n := range spent {
			h := ledger.HourSpend{Hour: record.HourOf(at)}
			us := uint64(cores) * 3600e6 / uint64(2*(n+2)*(n+3)) * uint64(20+at.Hour()*at.Day()%30) / 30
			h.CPU = [ledger.Uses]uint64{
				ledger.UsefulCPU: us, ledger.RepeatedCPU: us / 100, ledger.FailedCPU: us / 200, ledger.LostCPU: us / 20, ledger.OverheadCPU: us / 50,
			}
			spent[n] = append(spent[n], h)
		}
	}
	look := accounts.Look{Accounts: map[jobs.ShardID][]ledger.HourSpend{}}
	for n, account := range spent {
		m := &manifest.Manifest{Submitter: jobs.KeyID{byte(n), 1}, Runtime: manifest.RuntimeWasm, Units: 1, Bundle: 1, Expires: now.Add(-time.Hour)}
		id := jobs.JobID{byte(n), 1}
		look.Jobs, look.Accounts[jobs.ShardID{Job: id}] = append(look.Jobs, records.Job{ID: id, Manifest: m}), account
	}
	book.Saw(look, now)
	ended, end := context.WithCancel(t.Context())
	end()
	book.Run(ended) // writes a last time
	if err := book.Close(); err != nil {
		t.Fatal(err)
	}
}

// browserTools installs what the test needs into a folder, and returns Chromium's path. Where that cannot be had the test
// is skipped.
func browserTools(t *testing.T, dir string) string {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	for _, name := range []string{"node", "npm"} {
		if _, e := exec.LookPath(name); err == nil {
			err = e
		}
	}
	if err != nil {
		t.Skipf("PAGE TEST SKIPPED: %v (Debian: apt install chromium nodejs npm)", err)
	}
	script, err := os.ReadFile(filepath.FromSlash("../web/testdata/browser.mjs"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "browser.mjs"), script, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"}, browserPackages...)
	npm := exec.CommandContext(context.Background(), "npm", args...)
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Skipf("PAGE TEST SKIPPED: npm: %v\n%s", err, out)
	}
	return chromium
}
