package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
	g := newPageGrid(t, always, always)
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
		if lines.Text() == "READY" {
			g.submit(g.job("spoken-of-later", 2, 1e6, ""))
			continue
		}
		t.Error(lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, said.String())
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
