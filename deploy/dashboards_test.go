// Package deploy_test checks what is deployed beside the programs: dashboards, rules, and the files that bring them to
// Prometheus and Grafana. What types Grafana expects is checked by deploy/grafana/check.
package deploy_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

type dashboard struct {
	ID         *int
	UID, Title string
	Panels     []panel
	Templating struct{ List []struct{ Name, Type string } }
	Tags       []string
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               source
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []struct {
		RefID, Expr string
		Datasource  source
	}
}

type source struct{ Type, UID string }

// ours is the only datasource that a panel may name: the one that is chosen above the dashboard.
var ours = source{"prometheus", "${datasource}"}

func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	files, err := filepath.Glob("grafana/dashboards/*.json")
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v, expected three dashboards", files, err)
	}
	all := map[string]dashboard{}
	for _, file := range files {
		var d dashboard
		if err := json.Unmarshal(read(t, file), &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[file] = d
	}
	return all
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func decode(t *testing.T, file string, to any) {
	t.Helper()
	if err := yaml.Unmarshal(read(t, file), to); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func TestDashboards(t *testing.T) {
	uids := map[string]string{}
	known := metrics(t)
	for file, d := range dashboards(t) {
		if other := uids[d.UID]; other != "" || d.UID == "" {
			t.Errorf("%s has the uid %q of %q", file, d.UID, other)
		}
		uids[d.UID] = file
		if d.ID != nil || d.Title == "" || !slices.Contains(d.Tags, "idlegrid") {
			t.Errorf("%s: id %v, title %q, tags %v", file, d.ID, d.Title, d.Tags)
		}
		variables := []string{"__range", "__rate_interval"} // Grafana's own
		for _, v := range d.Templating.List {
			variables = append(variables, v.Name)
		}
		seen := map[string]bool{}
		ids := map[int]bool{}
		for i, p := range d.Panels {
			where := file + ": " + p.Title
			if seen[p.Title] || p.Title == "" || ids[p.ID] || p.ID == 0 {
				t.Errorf("%s: panel %d has no title or id of its own", where, p.ID)
			}
			seen[p.Title], ids[p.ID] = true, true
			for _, other := range d.Panels[:i] {
				if overlap(p, other) {
					t.Errorf("%s lies over %s", where, other.Title)
				}
			}
			checkPanel(t, where, p)
			for _, target := range p.Targets {
				if target.Datasource != ours {
					t.Errorf("%s: asks %v", where, target.Datasource)
				}
				checkNames(t, where, target.Expr, known)
				checkVariables(t, where, target.Expr, variables)
			}
		}
	}
}

func overlap(a, b panel) bool {
	p, q := a.GridPos, b.GridPos
	return p.X < q.X+q.W && q.X < p.X+p.W && p.Y < q.Y+q.H && q.Y < p.Y+p.H
}

func checkPanel(t *testing.T, where string, p panel) {
	t.Helper()
	// graph, singlestat, table-old and the like are gone from Grafana.
	if !slices.Contains([]string{"stat", "timeseries", "table", "bargauge"}, p.Type) {
		t.Errorf("%s: type %q", where, p.Type)
	}
	if g := p.GridPos; g.X < 0 || g.Y < 0 || g.W < 1 || g.H < 1 || g.X+g.W > 24 {
		t.Errorf("%s lies at %+v, expected 24 columns", where, g)
	}
	if p.Description == "" || p.Datasource != ours || len(p.Targets) == 0 {
		t.Errorf("%s: description %q, datasource %v, %d queries", where, p.Description, p.Datasource, len(p.Targets))
	}
	if p.FieldConfig.Defaults.Unit == "" && p.Type != "table" { // a table's columns have theirs
		t.Errorf("%s has no unit", where)
	}
	refs := map[string]bool{}
	for _, target := range p.Targets {
		if refs[target.RefID] {
			t.Errorf("%s: two queries are %q", where, target.RefID)
		}
		refs[target.RefID] = true
	}
}

var (
	nameIn     = regexp.MustCompile(`\b(?:idlegrid[_:]|process_|go_)[a-z0-9_:]+`)
	variableIn = regexp.MustCompile(`\$\{?(\w+)`)
	documented = regexp.MustCompile("(?m)^\\| `(idlegrid_[a-z0-9_]+)` \\| (\\w+) \\|")
)

// metrics returns the names that queries may have: those of the table in the docs, which tests make from the code, those
// of the recording rules, and some of client_golang's.
func metrics(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{"process_cpu_seconds_total": true, "process_resident_memory_bytes": true, "process_start_time_seconds": true}
	table := documented.FindAllStringSubmatch(string(read(t, "docs/metrics.md")), -1)
	if len(table) < 20 {
		t.Fatalf("%d metrics in the docs", len(table))
	}
	for _, m := range table {
		known[m[1]] = true
		if m[2] == "histogram" {
			known[m[1]+"_bucket"], known[m[1]+"_sum"], known[m[1]+"_count"] = true, true, true
		}
	}
	for _, r := range rules(t) {
		known[r.Record] = true
	}
	return known
}

func checkNames(t *testing.T, where, expr string, known map[string]bool) {
	t.Helper()
	for _, name := range nameIn.FindAllString(expr, -1) {
		if !known[name] {
			t.Errorf("%s asks for %s, which is neither in docs/metrics.md nor in the recording rules", where, name)
		}
	}
}

func checkVariables(t *testing.T, where, expr string, declared []string) {
	t.Helper()
	for _, v := range variableIn.FindAllStringSubmatch(expr, -1) {
		if !slices.Contains(declared, v[1]) {
			t.Errorf("%s: nothing declares %s", where, v[0])
		}
	}
}

type rule struct {
	Record, Alert, Expr, For string
	Labels, Annotations      map[string]string
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	for _, file := range []string{"prometheus/rules/recording.yml", "prometheus/rules/alerts.yml"} {
		var f struct{ Groups []struct{ Rules []rule } }
		decode(t, file, &f)
		for _, g := range f.Groups {
			all = append(all, g.Rules...)
		}
	}
	if len(all) < 20 {
		t.Fatalf("%d rules", len(all))
	}
	return all
}

// TestRules: alerts ask only for what there is, and each alert has a paragraph in the runbook, and each paragraph an alert.
func TestRules(t *testing.T) {
	known := metrics(t)
	paragraphs := regexp.MustCompile(`(?m)^## (\w+)\n\n\S`).FindAllStringSubmatch(string(read(t, "docs/runbook.md")), -1)
	var alerts []string
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue // the counters that these add up are not exported yet
		}
		checkNames(t, r.Alert, r.Expr, known)
		alerts = append(alerts, r.Alert)
		if !slices.Contains([]string{"critical", "warning"}, r.Labels["severity"]) || r.For == "" {
			t.Errorf("%s: severity %q for %q", r.Alert, r.Labels["severity"], r.For)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s says nothing", r.Alert)
		}
		if want := "deploy/docs/runbook.md#" + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook %q, expected %q", r.Alert, r.Annotations["runbook_url"], want)
		}
	}
	for i, p := range paragraphs {
		if i >= len(alerts) || !slices.Contains(alerts, p[1]) {
			t.Errorf("the runbook's %s is no alert", p[1])
		}
	}
	if len(paragraphs) != len(alerts) {
		t.Errorf("%d paragraphs in the runbook, %d alerts", len(paragraphs), len(alerts))
	}
}
