package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
)

// newPageGrid is newGrid with a page and an operator, who is logged in in the folder of that name.
func newPageGrid(t testing.TB, classes ...string) *grid {
	t.Helper()
	g := emptyGrid(t, patience)
	g.openPage(classes...)
	return g
}

// openPage makes an empty grid one with a page.
func (g *grid) openPage(classes ...string) {
	g.t.Helper()
	g.coordinator.flags = append(g.coordinator.flags, "--page", "127.0.0.1:0")
	g.coordinator.start()
	g.as(operator, func() { g.must("gridctl", "login", g.token("--role", "operator", "--owner", operator)) })
	g.must("gridctl", "login", g.token("--role", "submitter", "--owner", alice))
	for _, class := range classes {
		g.addAgent(class)
	}
	g.awaitEligible(len(classes))
}

// operator is who runs the grid, and the folder with the login.
const operator = "olga"

// as calls f while gridctl is somebody else's.
func (g *grid) as(who string, f func()) {
	before := g.submitter
	defer func() { g.submitter = before }()
	g.submitter = who
	f()
}

// browse opens a link as somebody, and returns a function that gets pages.
func (g *grid) browse(who string) (get func(path string) (int, string)) {
	g.t.Helper()
	var link string
	g.as(who, func() { link = strings.TrimSpace(g.must("gridctl", "open", "--print").stdout) })
	base, enter, _ := strings.Cut(link, "/enter")
	jar, err := cookiejar.New(nil)
	if err != nil {
		g.t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	get = func(path string) (int, string) {
		g.t.Helper()
		r, err := http.NewRequestWithContext(g.ctx, http.MethodGet, base+path, nil)
		if err != nil {
			g.t.Fatal(err)
		}
		response, err := client.Do(r)
		if err != nil {
			g.t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			g.t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	if code, text := get("/enter" + enter); code != http.StatusOK {
		g.t.Fatalf("the link: %d: %s", code, text)
	}
	return get
}

// TestPage: what a failed unit wrote comes from the agents to the page of who may see it.
func TestPage(t *testing.T) {
	t.Parallel()
	g := newPageGrid(t, always, always)
	const bad = 4
	id := g.submit(g.job("failing", 8, 1e6, fmt.Sprintf("args: [\"${unit}\", \"%d\"]\nretries: 0", bad)))
	g.exits(3, "gridctl", "wait", id.String())
	for _, who := range []string{alice, operator} {
		get := g.browse(who)
		var text string
		wants := []string{"incomplete", "7</dd>", "Unit 4", "exit code", "4\ufffd4\ufffd"}
		g.until(who+" sees why the unit failed", func() bool {
			_, text = get("/jobs/" + id.String())
			for _, want := range wants {
				if !strings.Contains(text, want) {
					return false
				}
			}
			return true
		})
		if strings.Contains(text, g.agents[0].addresses().ID[:8]) || strings.Contains(text, g.agents[1].addresses().ID[:8]) {
			t.Errorf("%s sees which agent ran it: %s", who, text)
		}
	}
	g.as("bob", func() { g.must("gridctl", "login", g.token("--role", "submitter", "--owner", "bob")) })
	get := g.browse("bob")
	if code, text := get("/jobs/" + id.String()); code != http.StatusNotFound || strings.Contains(text, "failing") {
		t.Errorf("another submitter: %d: %s", code, text)
	}
	if _, text := get("/jobs"); strings.Contains(text, "failing") {
		t.Errorf("another submitter's list: %s", text)
	}
}
