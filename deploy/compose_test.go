package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

type compose struct {
	Services map[string]struct {
		Image       string
		NetworkMode string `yaml:"network_mode"`
		Command     []string
		Environment map[string]string
		Ports       []string
		Volumes     []string
	}
	Volumes map[string]any
}

// TestCompose: pinned images, nothing that another machine reaches, mounts of files that are here, read-only.
func TestCompose(t *testing.T) {
	var c compose
	decode(t, "compose.yaml", &c)
	pinned := regexp.MustCompile(`^[a-z]+/[a-z]+:v?\d+\.\d+\.\d+$`)
	for name, s := range c.Services {
		if !pinned.MatchString(s.Image) || s.NetworkMode != "host" || len(s.Ports) > 0 {
			t.Errorf("%s: image %q, network %q, ports %v", name, s.Image, s.NetworkMode, s.Ports)
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if _, named := c.Volumes[from]; named {
				continue
			}
			if _, err := os.Stat(from); err != nil || !strings.HasPrefix(from, "./") || !strings.HasSuffix(v, ":ro") {
				t.Errorf("%s mounts %s: %v", name, v, err)
			}
		}
	}
	prometheus, grafana := c.Services["prometheus"], c.Services["grafana"]
	if !strings.Contains(strings.Join(prometheus.Command, " "), "--web.listen-address=127.0.0.1:9090 ") {
		t.Errorf("Prometheus runs %v", prometheus.Command)
	}
	if grafana.Environment["GF_SERVER_HTTP_ADDR"] != "127.0.0.1" {
		t.Errorf("Grafana listens at %q", grafana.Environment["GF_SERVER_HTTP_ADDR"])
	}
}

// TestProvisioning: Grafana finds the Prometheus of compose.yaml, and the dashboards where they are mounted.
func TestProvisioning(t *testing.T) {
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct{ UID, Type, URL string }
	}
	decode(t, "grafana/provisioning/datasources/idlegrid.yaml", &sources)
	if sources.APIVersion != 1 || len(sources.Datasources) != 1 {
		t.Fatalf("%+v", sources)
	}
	if s := sources.Datasources[0]; s.UID != "idlegrid" || s.Type != "prometheus" || s.URL != "http://127.0.0.1:9090" {
		t.Errorf("%+v", s)
	}
	var providers struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Type    string
			Options struct{ Path string }
		}
	}
	decode(t, "grafana/provisioning/dashboards/idlegrid.yaml", &providers)
	if providers.APIVersion != 1 || len(providers.Providers) != 1 || providers.Providers[0].Type != "file" {
		t.Fatalf("%+v", providers)
	}
	var c compose
	decode(t, "compose.yaml", &c)
	mounts := map[string]string{}
	for _, v := range c.Services["grafana"].Volumes {
		if parts := strings.Split(v, ":"); len(parts) == 3 {
			mounts[parts[1]] = filepath.Clean(parts[0])
		}
	}
	if mounts[providers.Providers[0].Options.Path] != "grafana/dashboards" || mounts["/etc/grafana/provisioning"] != "grafana/provisioning" {
		t.Errorf("Grafana has %v, and looks at %s", mounts, providers.Providers[0].Options.Path)
	}
}

// TestScrape: Prometheus scrapes the addresses that the docs give the daemons, by the names that rules and dashboards have.
func TestScrape(t *testing.T) {
	var c struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			JobName       string                       `yaml:"job_name"`
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
			FileSDConfigs []struct{ Files []string }   `yaml:"file_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	decode(t, "prometheus/prometheus.yml", &c)
	if len(c.ScrapeConfigs) != 2 || len(c.RuleFiles) != 1 {
		t.Fatalf("%+v", c)
	}
	coordinator, agents := c.ScrapeConfigs[0], c.ScrapeConfigs[1]
	if coordinator.JobName != "idlegrid-coordinator" || agents.JobName != "idlegrid-agents" || len(agents.FileSDConfigs) != 1 {
		t.Errorf("%+v", c)
	}
	docs := string(read(t, "docs/metrics.md"))
	if len(coordinator.StaticConfigs) != 1 || !strings.Contains(docs, "gridcoordinator run --metrics "+coordinator.StaticConfigs[0].Targets[0]+"\n") {
		t.Errorf("the docs have the coordinator elsewhere than at %v", coordinator.StaticConfigs)
	}
	for _, r := range rules(t) {
		for _, job := range regexp.MustCompile(`job="([^"]+)"`).FindAllStringSubmatch(r.Expr, -1) {
			if job[1] != coordinator.JobName && job[1] != agents.JobName {
				t.Errorf("%s is about the job %s", r.Record+r.Alert, job[1])
			}
		}
	}
}
