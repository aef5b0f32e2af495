package service

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"idlegrid/jobs"
)

var update = flag.Bool("update", false, "write the files under deploy anew")

// TestDeployed compares the service files of packages with what is made of their templates here.
func TestDeployed(t *testing.T) {
	agent := Agent("/usr/bin/gridagent", "/var/lib/idlegrid/agent", nil)
	coordinator := Coordinator("/usr/bin/gridcoordinator", "/var/lib/idlegrid/coordinator", nil)
	const mac = "/Library/Application Support/idlegrid/"
	macAgent := Agent("/usr/local/bin/gridagent", mac+"agent", nil)
	macCoordinator := Coordinator("/usr/local/bin/gridcoordinator", mac+"coordinator", nil)
	helper := func(s Service, kind string) func() (string, error) {
		return func() (string, error) { return s.helperFile(kind) }
	}
	for path, render := range map[string]func() (string, error){
		"systemd/idlegrid.slice":                       func() (string, error) { return render("slice", nil) },
		"session/gridagent-session.service":            helper(agent, "service"),
		"session/gridagent-session.desktop":            helper(agent, "desktop"),
		"launchd/org.idlegrid.gridagent-session.plist": helper(macAgent, "plist"),
		"systemd/gridagent.service":                    agent.unit,
		"systemd/gridcoordinator.service":              coordinator.unit,
		"launchd/org.idlegrid.gridagent.plist":         macAgent.plist,
		"launchd/org.idlegrid.gridcoordinator.plist":   macCoordinator.plist,
	} {
		got, err := render()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("../../deploy", path)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != got {
			t.Errorf("%s is stale: go test ./agent/service -update\n%s", path, got)
		}
	}
}

func TestUnit(t *testing.T) {
	s := Agent("/usr/local/bin/gridagent", "/srv/grid/agent", []string{"--cores", "4", "--join", "a b:1"})
	text, err := s.unit()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`ExecStart=/usr/local/bin/gridagent run --state /srv/grid/agent --cores 4 --join "a b:1"`,
		"ReadWritePaths=/srv/grid/agent", "WorkingDirectory=/srv/grid/agent", "User=idlegrid",
		"ConditionPathExists=/srv/grid/agent/chain.pem", "Slice=idlegrid.slice",
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
	for _, key := range []string{"StateDirectory=", "MemoryDenyWriteExecute=", "PrivateDevices=", "CPUSchedulingPolicy=", "Nice="} {
		if strings.Contains(text, "\n"+key) {
			t.Errorf("%s in the unit of an agent with a state folder of its own choice", key)
		}
	}
}

func TestRefusedDefinitions(t *testing.T) {
	for _, s := range []Service{
		Agent("gridagent", "/var/lib/x", nil),
		Agent("/bin/gridagent", "x", nil),
		Agent("/bin/gridagent", "/var/lib/../etc", nil),
		Agent("/bin/gridagent", "/var/lib/a b", nil),
		Agent("/bin/gridagent", "/var/lib/%n", nil),
		Agent("/bin/gridagent\nUser=root", "/var/lib/x", nil),
		Agent("/bin/gridagent", "/var/lib/x", []string{"a\nUser=root"}),
	} {
		if err := s.validate(); err != nil {
			continue
		}
		if text, err := s.unit(); jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("%q: got %v, expected an error\n%s", s.command("run"), err, text)
		}
	}
}

// TestQuotedArguments reads quoted arguments back by systemd's rules.
func TestQuotedArguments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		args := rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune("ab %$\"'\\;{}=#é")), 0, 8, -1), 1, 4).Draw(t, "args")
		var line []string
		for _, arg := range args {
			line = append(line, quoteUnit(arg))
		}
		if got := unquote(t, strings.Join(line, " ")); strings.Join(got, "\x00") != strings.Join(args, "\x00") {
			t.Fatalf("%q became %q", args, got)
		}
	})
}

// unquote cuts a command line as systemd.syntax(7) and systemd.service(5) say, as far as quoteUnit uses it.
func unquote(t *rapid.T, line string) []string {
	var out []string
	var word strings.Builder
	in, quoted := false, false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '"':
			in, quoted = true, !quoted
		case c == ' ' && !quoted:
			if in {
				out = append(out, word.String())
			}
			word.Reset()
			in = false
		case c == '\\' || c == '%' || c == '$':
			i++
			if i == len(line) || c != '\\' && line[i] != c {
				t.Fatalf("a single %c in %s", c, line)
			}
			in = true
			word.WriteByte(line[i])
		case (c == '\'' || c == ';') && !quoted:
			t.Fatalf("bare %c in %s", c, line)
		default:
			in = true
			word.WriteByte(c)
		}
	}
	if in {
		out = append(out, word.String())
	}
	return out
}
