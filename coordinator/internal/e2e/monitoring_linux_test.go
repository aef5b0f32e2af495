package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"idlegrid/coordinator/internal/admission"
)

// deployed is where what IT gets for monitoring lies.
const deployed = "../../../deploy"

// TestMonitoring: a real Prometheus, set up as deploy/ says, scrapes a grid that runs a job while its coordinator restarts.
// Each query of each dashboard, each recording rule and each alert is answered, and CPU-hours are what the coordinator
// counts.
func TestMonitoring(t *testing.T) {
	for _, name := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("NOT TESTED: %v (Debian: apt install prometheus)", err)
		}
	}
	t.Parallel()
	g := emptyGrid(t, patience)
	limits := filepath.Join(g.coordinator.state, admission.ConfigFile)
	if err := os.WriteFile(limits, []byte("metrics_submitters: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.coordinator.flags = []string{"--metrics", ownHost + ":0"}
	g.coordinator.start()
	token := g.token("--role", "submitter", "--owner", alice)
	g.must("gridctl", "login", token)
	g.addAgent(always, "--cores", "1", "--metrics", "127.0.0.1:0")
	g.addAgent(always)
	g.awaitEligible(2)

	// A new coordinator waits for what agents may tell it before it counts; one that was there before does not.
	at := g.coordinator.addresses()
	page := at.Metrics
	g.coordinator.flags = []string{"--metrics", page, "--listen", at.Grid}
	g.again()
	p := g.prometheus(page, g.agents[0].addresses().Metrics)
	p.until("counters are seen", `idlegrid:counters:total{of="cpu", use="useful"} == 0`)
	for n := range 2 { // of a counter that is there for the first time no increase is known
		g.exits(1, "gridctl", "login", "--context", "again", token)
		p.until("a failed call is seen", fmt.Sprintf(`sum(idlegrid_rpc_calls_total{code!="OK"}) > %d`, n))
	}

	id := g.submit(g.job("work", 10, 200_000_000, "")).String()
	g.until("the job is done", func() bool {
		s := g.status(id)
		return s.Accepted == s.Units
	})
	g.until("the coordinator knows", func() bool { return g.metric(`live_job_units{status="accepted"}`) == 10 })
	g.again() // what is on disk is shown
	const useful = `cpu_seconds_total{runtime="wasm",use="useful"}`
	g.until("the work is counted", func() bool { return g.metric(useful) > 0 })
	p.until("the work is harvested", `sum(idlegrid:cpu_hours:increase1d{use="useful"}) > 0`)
	if got, want := p.value(`sum(idlegrid:cpu_hours:increase1d{use="useful"}) * 3600`), g.metric(useful); got < want*0.999 || got > want*1.001 {
		t.Errorf("%v CPU seconds were harvested, the coordinator counts %v", got, want)
	}
	for _, d := range []*daemon{g.coordinator, g.agents[0]} {
		check := exec.Command("promtool", "check", "metrics")
		check.Stdin = strings.NewReader(d.scrape())
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("the page of %s: %v\n%s", d.name, err, out)
		}
	}
	p.checkRules()
	p.checkDashboards()
	p.checkMoney()
}

// again stops and starts the coordinator.
func (g *grid) again() {
	g.t.Helper()
	g.coordinator.stop()
	g.coordinator.start()
}

// prometheus is one that runs for the test.
type prometheus struct {
	g    *grid
	t    testing.TB
	base string
}

// hurry replaces what would take a quarter of an hour.
var hurry = strings.NewReplacer(
	"scrape_interval: 15s", "scrape_interval: 1s", "evaluation_interval: 1m", "evaluation_interval: 1s", "interval: 2m", "interval: 1s",
	"process_start_time_seconds > 900", "process_start_time_seconds > 2",
)

// prometheus starts one as deploy/ sets it up, with these targets.
func (g *grid) prometheus(coordinator, agent string) *prometheus {
	g.t.Helper()
	config := g.path("prometheus")
	for name, change := range map[string]*strings.Replacer{
		"prometheus.yml": strings.NewReplacer("127.0.0.1:9745", coordinator), "rules/recording.yml": hurry, "rules/alerts.yml": hurry,
	} {
		text, err := os.ReadFile(filepath.Join(deployed, "prometheus", name))
		if err != nil {
			g.t.Fatal(err)
		}
		changed := hurry.Replace(change.Replace(string(text)))
		if name != "rules/alerts.yml" && changed == string(text) {
			g.t.Fatalf("%s is not what it was: nothing could be replaced in it", name)
		}
		g.put(filepath.Join(config, name), changed)
	}
	g.put(filepath.Join(config, "agents", "one.yml"), "- targets: ["+strconv.Quote(agent)+"]\n")

	log, err := os.Create(g.path("prometheus.log"))
	if err != nil {
		g.t.Fatal(err)
	}
	defer log.Close() // The process has a copy.
	cmd := exec.Command("prometheus", "--config.file="+filepath.Join(config, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(config, "data"), "--web.listen-address=127.0.0.1:0")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			g.t.Error(err)
		}
		if err := cmd.Wait(); err != nil || g.t.Failed() {
			g.t.Logf("Prometheus: %v\n%s", err, g.read("prometheus.log"))
		}
	})
	p := &prometheus{g: g, t: g.t}
	listens := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
	g.until("Prometheus listens", func() bool {
		found := listens.FindStringSubmatch(g.read("prometheus.log"))
		if found != nil {
			p.base = "http://" + found[1] + "/api/v1/"
		}
		return found != nil
	})
	return p
}

func (g *grid) put(path, text string) {
	g.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// get asks Prometheus's interface; false: it has not loaded its data yet.
func (p *prometheus) get(path string, parameters url.Values, to any) bool {
	p.t.Helper()
	resp, err := http.Get(p.base + path + "?" + parameters.Encode())
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close() // It was read.
	if resp.StatusCode == http.StatusServiceUnavailable {
		return false
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		p.t.Fatalf("%s: %s, %v", path, resp.Status, err)
	}
	if answer.Status != "success" {
		p.t.Fatalf("%s %s: %s", path, parameters.Get("query"), answer.Error)
	}
	if err := json.Unmarshal(answer.Data, to); err != nil {
		p.t.Fatal(err)
	}
	return true
}

// ask returns the last value of each series of a query.
func (p *prometheus) ask(query string, span bool) (values []string) {
	p.t.Helper()
	path, parameters := "query", url.Values{"query": {query}}
	if span {
		now := time.Now()
		path = "query_range"
		parameters.Set("start", strconv.FormatInt(now.Add(-5*time.Minute).Unix(), 10))
		parameters.Set("end", strconv.FormatInt(now.Unix(), 10))
		parameters.Set("step", "5")
	}
	var data struct {
		Result []struct {
			Value  []any
			Values [][]any
		}
	}
	if !p.get(path, parameters, &data) {
		return nil
	}
	for _, s := range data.Result {
		if span {
			s.Value = s.Values[len(s.Values)-1]
		}
		values = append(values, s.Value[1].(string))
	}
	return values
}

func (p *prometheus) until(what, query string) {
	p.t.Helper()
	p.g.until(what, func() bool { return len(p.ask(query, false)) > 0 })
}

// value returns what a query of one series gives.
func (p *prometheus) value(query string) float64 {
	p.t.Helper()
	values := p.ask(query, false)
	if len(values) != 1 {
		p.t.Fatalf("%s: %v, expected one value", query, values)
	}
	n, err := strconv.ParseFloat(values[0], 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// checkRules: Prometheus could evaluate all, and what is recorded has data.
func (p *prometheus) checkRules() {
	p.t.Helper()
	var records []string
	for _, name := range []string{"recording", "alerts"} {
		var file struct {
			Groups []struct{ Rules []struct{ Record string } }
		}
		if err := yaml.Unmarshal([]byte(p.g.read("prometheus", "rules", name+".yml")), &file); err != nil {
			p.t.Fatal(err)
		}
		for _, group := range file.Groups {
			for _, r := range group.Rules {
				if r.Record != "" {
					records = append(records, r.Record)
				}
			}
		}
	}
	for _, name := range records {
		p.until(name+" has data", name)
	}
	var loaded struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError, State string }
		}
	}
	p.g.until("all rules were evaluated", func() bool {
		if !p.get("rules", nil, &loaded) {
			return false
		}
		for _, group := range loaded.Groups {
			for _, r := range group.Rules {
				if r.Health == "unknown" {
					return false
				}
			}
		}
		return true
	})
	if len(loaded.Groups) != 3 {
		p.t.Errorf("%d groups of rules, expected 3", len(loaded.Groups))
	}
	for _, group := range loaded.Groups {
		for _, r := range group.Rules {
			if r.Health != "ok" || r.State == "firing" {
				p.t.Errorf("%s is %s, %s: %s", r.Name, r.Health, r.State, r.LastError)
			}
		}
	}
}

// checkMoney: what the dashboard says of energy, CO2 and money is the CPU-hours by the settings of a new grid.
func (p *prometheus) checkMoney() {
	p.t.Helper()
	hours, useful := p.value("sum(idlegrid:cpu_hours:increase30d)"), p.value(`sum(idlegrid:cpu_hours:increase30d{use="useful"})`)
	cost := hours * 8 / 1000 * 0.13
	for title, want := range map[string]float64{
		"Energy cost, 30 days": cost, "CO2, 30 days": hours * 8 / 1000 * 367 / 1000,
		"Saved against elsewhere, 30 days": useful*(0.04048+0.017) - 2*cost, // by two prices
	} {
		if got := p.value("sum(" + p.query("harvest", title) + ")"); got < want*0.999 || got > want*1.001 {
			p.t.Errorf("%s: %v, expected %v", title, got, want)
		}
	}
}

// query returns what a panel asks for.
func (p *prometheus) query(dashboard, title string) string {
	p.t.Helper()
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile(filepath.Join(deployed, "grafana/dashboards", dashboard+".json"))
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	for _, panel := range d.Panels {
		if panel.Title == title {
			return panel.Targets[0].Expr
		}
	}
	p.t.Fatalf("%s has no panel %s", dashboard, title)
	return ""
}

// checkDashboards asks for what each panel of each dashboard shows, as Grafana does.
func (p *prometheus) checkDashboards() {
	p.t.Helper()
	// Stewards are asked every ten seconds: in a shorter time nothing may have happened, and its rate is not a number.
	variables := map[string]string{"$__rate_interval": "30s", "$__range": "1h"}
	files, err := filepath.Glob(filepath.Join(deployed, "grafana/dashboards/*.json"))
	if err != nil || len(files) != 3 {
		p.t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		var dashboard struct {
			Panels []struct {
				Title   string
				Targets []struct {
					Expr  string
					Range bool
				}
			}
		}
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &dashboard)
		}
		if err != nil {
			p.t.Fatalf("%s: %v", file, err)
		}
		for _, panel := range dashboard.Panels {
			for _, target := range panel.Targets {
				query := target.Expr
				for _, name := range slices.Sorted(maps.Keys(variables)) {
					query = strings.ReplaceAll(query, name, variables[name])
				}
				what := fmt.Sprintf("%s: %s has data of %s", filepath.Base(file), panel.Title, query)
				var values []string
				p.g.until(what, func() bool {
					values = p.ask(query, target.Range)
					return len(values) > 0
				})
				// Nobody typed here, so there is no quantile of how fast work stopped.
				if slices.Contains(values, "NaN") && !strings.Contains(query, "idlegrid_owner_") {
					p.t.Errorf("%s: %v", what, values)
				}
			}
		}
	}
}
