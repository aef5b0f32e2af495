package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/yamlfile"
)

// write makes a policy's folders in which these files are, by their slashed names.
func write(t testing.TB, files map[string]string) Paths {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return Paths{
		Machine: []string{filepath.Join(dir, "etc", "policy.yaml"), filepath.Join(dir, "etc", "policy.d")},
		Local:   filepath.Join(dir, "policy.yaml"), Owner: filepath.Join(dir, "owner.yaml"),
	}
}

func TestDefaults(t *testing.T) {
	p, err := Load(write(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(p.Values, Defaults()) {
		t.Errorf("got %+v", p.Values)
	}
	for _, s := range p.Settings {
		if s.Layer != BuiltIn || s.Lock != "" || s.Where() != "built in" {
			t.Errorf("%+v is not built in", s)
		}
	}
	for name, want := range map[string]string{
		"in_use.cores": "0", "away.cores": "100%", "idle": "5m", "idle_locked": "1m", "resume_after": "5m",
		"give_back_after": "10m", "on_battery": "false", "native": "false", "metered": "false", "disk": "unlimited",
	} {
		if s, _ := p.Setting(name); s.Value != want {
			t.Errorf("%s is %s by default, expected %s", name, s.Value, want)
		}
	}
}

func TestLayers(t *testing.T) {
	paths := write(t, map[string]string{
		"etc/policy.yaml":          "locked: [on_battery, away.cores, refuse]\naway: {cores: 50%, memory: 30%}\nidle: 10m\n",
		"etc/policy.d/20-lab.yaml": "idle: 12m\nlocked: [native]\n",
		"etc/policy.d/10-all.yaml": "idle: 11m\n",
		"etc/policy.d/README":      "no: policy\n",
		"policy.yaml":              "idle: 3m\non_battery: true\nexclusive: [game]\n",
		"owner.yaml":               "away:\n  cores: 100%\n  memory: 10%\nexclusive: []\n",
	})
	p, err := Load(paths)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		key, value string
		layer      Layer
		base       string
		line       int
		locked     bool
	}{
		{"idle", "3m", Local, "policy.yaml", 1, false},
		{"away.cores", "50%", Machine, "policy.yaml", 2, true},
		{"away.memory", "10%", Owner, "owner.yaml", 3, false},
		{"on_battery", "false", BuiltIn, "", 0, true},
		{"native", "false", BuiltIn, "", 0, true},
		{"refuse.jobs", "[]", BuiltIn, "", 0, true},
		{"exclusive", "[]", Owner, "owner.yaml", 4, false},
	} {
		s, _ := p.Setting(test.key)
		base := ""
		if s.File != "" {
			base = filepath.Base(s.File)
		}
		if s.Value != test.value || s.Layer != test.layer || base != test.base || s.Line != test.line || (s.Lock != "") != test.locked {
			t.Errorf("%+v, expected %+v", s, test)
		}
	}
	if p.Away.Cores != (Amount{N: 50, Percent: true}) || p.OnBattery || p.Idle != 3*time.Minute || p.Away.Memory != 0.1 {
		t.Errorf("got %+v", p.Values)
	}
	want := []string{
		"owner.yaml:2: away.cores is ignored: " + paths.Machine[0] + ":1 locks it",
		"policy.yaml:2: on_battery is ignored: " + paths.Machine[0] + ":1 locks it",
	}
	if len(p.Warnings) != 2 || !strings.HasSuffix(p.Warnings[0], want[0]) || !strings.HasSuffix(p.Warnings[1], want[1]) {
		t.Errorf("warnings %q", p.Warnings)
	}
}

func problemsOf(t *testing.T, text string, of Layer) string {
	t.Helper()
	l, err := decode([]byte(text), "p.yaml", of)
	var problems yamlfile.Problems
	if !errors.As(err, &problems) || jobs.KindOf(err) != jobs.Invalid {
		t.Errorf("%q: layer %v, error %v", text, l, err)
		return ""
	}
	var lines []string
	for _, p := range problems {
		line := p.Error()
		if p.Hint != "" {
			line += " // " + p.Hint
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// TestProblems has a line for every way in which a field can be wrong.
func TestProblems(t *testing.T) {
	for text, want := range map[string]string{
		"idel: 5m":                         "p.yaml:1:1: idel: unknown key // did you mean idle?",
		"away:\n  corse: 1":                "p.yaml:2:3: away.corse: unknown key // did you mean cores?",
		"away: 3":                          "p.yaml:1:7: away: is 3, expected a map of key: value",
		"away: {cores: -1}":                "p.yaml:1:15: away.cores: is -1, expected a number of cores or a share of all such as 50%",
		"away: {cores: 101%}":              `p.yaml:1:15: away.cores: is the text "101%", expected a number of cores or a share of all such as 50%`,
		"in_use: {memory: 95%}":            `p.yaml:1:18: in_use.memory: is the text "95%", expected a share from 0% to 90%`,
		"in_use: {others_cpu: 0.5}":        "p.yaml:1:22: in_use.others_cpu: is 0.5, expected a share from 0% to 100%",
		"away: {network: 5MiB/s}":          `p.yaml:1:17: away.network: is the text "5MiB/s", expected a whole number of KiB/s, or unlimited // write it like 20KiB/s`,
		"disk: 10":                         "p.yaml:1:7: disk: is 10, expected a whole number of GiB, or unlimited // write it like 20GiB",
		"idle: 5":                          "p.yaml:1:7: idle: is 5, expected a duration from 10s to 24h // write it like 5m or 90s",
		"on_battery: yes":                  `p.yaml:1:13: on_battery: is the text "yes", expected true or false`,
		"max_temperature: 20":              "p.yaml:1:18: max_temperature: is 20, expected °C from 30 to 120, or unlimited",
		"max_temperature: .nan":            "p.yaml:1:18: max_temperature: is .nan, expected °C from 30 to 120, or unlimited",
		"hours: {noon: all}":               "p.yaml:1:9: hours.noon: is no day // write mon, tue, wed, thu, fri, sat, sun, or two of them such as mon-fri",
		"hours: {mon: 18:00-07:00}":        `p.yaml:1:14: hours.mon: is the text "18:00-07:00", expected spans within a day such as 00:00-07:30 and 18:00-24:00, all or none // for a span over midnight write the evening, and the morning at the next day`,
		"hours: {mon-fri: all, tue: none}": "p.yaml:1:28: hours.tue: gives hours for tue, which has some already // name each day once",
		"exclusive: obs":                   `p.yaml:1:12: exclusive: is the text "obs", expected a list // a list is written [one, another]`,
		"exclusive: [bin/obs]":             `p.yaml:1:13: exclusive[0]: is "bin/obs", expected the name of a program other than gridagent, without its folder`,
		"refuse: {submitters: [1234]}":     `p.yaml:1:23: refuse.submitters[0]: is "1234", expected the first 8 or more hex digits of a submitter's key ID`,
		"refuse: {jobs: ['[']}":            `p.yaml:1:17: refuse.jobs[0]: is "[", expected a job's name; * ? and [a-z] stand for any`,
		"locked: [idel]":                   `p.yaml:1:10: locked[0]: is the text "idel", which is no key // did you mean idle?`,
		"locked: [pause]":                  "p.yaml:1:10: locked[0]: is pause, which belongs to the owner and cannot be locked",
		"locked: [resume]":                 "p.yaml:1:10: locked[0]: is resume, which belongs to the owner and cannot be locked",
		"locked: [stop-jobs]":              "p.yaml:1:10: locked[0]: is stop-jobs, which belongs to the owner and cannot be locked",
		"idle: 1m\nidle: 2m":               "p.yaml:2:1: idle: duplicate key, the first is on line 1 // remove one of the two",
		"idle: &a 5m":                      "p.yaml:1:7: & starts a YAML anchor here, which a policy cannot have // put text that begins with & in quotes, and write a repeated value out",
		"idle: x\nnative: 1":               `p.yaml:1:7: idle: is the text "x", expected a duration from 10s to 24h // write it like 5m or 90s` + "\np.yaml:2:9: native: is 1, expected true or false",
		"#" + strings.Repeat(" ", 64<<10):  "p.yaml: has more than 64 KiB // a policy has a few dozen lines",
	} {
		if got := problemsOf(t, text, Machine); got != want {
			t.Errorf("%.60q\n got %s\nwant %s", text, got, want)
		}
	}
	if got := problemsOf(t, "locked: []", Owner); got != "p.yaml:1:9: locked: only the machine's policy can lock keys" {
		t.Error(got)
	}
}

func TestTakes(t *testing.T) {
	submitter := jobs.KeyID(jobs.DigestOf([]byte("somebody")))
	l, err := decode([]byte("refuse: {submitters: ["+submitter.String()[:10]+"], jobs: ['render-*']}"), "p", Owner)
	if err != nil {
		t.Fatal(err)
	}
	v := merge([]*layer{l}).Values
	for _, test := range []struct {
		m    manifest.Manifest
		want string
	}{
		{manifest.Manifest{Name: "a", Runtime: manifest.RuntimeWasm}, ""},
		{manifest.Manifest{Name: "render-1", Runtime: manifest.RuntimeWasm}, "job render-1: this PC's policy refuses jobs named render-*"},
		{manifest.Manifest{Name: "a", Runtime: manifest.RuntimeWasm, Submitter: submitter}, "job a: this PC's policy refuses jobs of submitter " + submitter.Short()},
		{manifest.Manifest{Name: "a", Runtime: "native"}, "job a: this PC's policy allows no programs of runtime native"},
	} {
		got := ""
		if err := v.Takes(&test.m); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%+v: %q, expected %q", test.m, got, test.want)
		}
	}
}

func TestHours(t *testing.T) {
	l, err := decode([]byte("hours: {mon-fri: 00:00-07:30 and 18:00-24:00, sun: none}"), "p", Local)
	if err != nil {
		t.Fatal(err)
	}
	h := merge([]*layer{l}).Hours
	if got, want := h.String(), "{sun: none, mon: 00:00-07:30 and 18:00-24:00, tue"; !strings.HasPrefix(got, want) {
		t.Errorf("shown as %s", got)
	}
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 11, day, hour, minute, 0, 0, time.UTC) } // the 23rd is a Monday
	for _, test := range []struct{ now, next time.Time }{
		{at(23, 7, 29), at(23, 7, 29)},
		{at(23, 7, 30), at(23, 18, 0)},
		{at(23, 23, 59), at(23, 23, 59)},
		{at(24, 0, 0), at(24, 0, 0)},
		{at(28, 12, 0), at(28, 12, 0)}, // Saturday is not named
		{at(29, 9, 0), at(30, 0, 0)},   // no hour on Sunday
	} {
		if got := h.Next(test.now); !got.Equal(test.next) || h.Open(test.now) != test.now.Equal(test.next) {
			t.Errorf("at %s next %s, open %v", test.now, got, h.Open(test.now))
		}
	}
	never, err := decode([]byte("hours: {mon-sun: none}"), "p", Local)
	if err != nil {
		t.Fatal(err)
	}
	if got := merge([]*layer{never}).Hours.Next(at(23, 7, 0)); !got.IsZero() {
		t.Errorf("open at %s", got)
	}
}

// TestStore: a bad file keeps what was good, and a change is noticed without anybody telling.
func TestStore(t *testing.T) {
	paths := write(t, map[string]string{"owner.yaml": "idle: 7m"})
	s := Open(paths)
	expect := func(what string, idle time.Duration, wrong string) {
		t.Helper()
		p, err := s.Policy()
		if p.Idle != idle || (err == nil) != (wrong == "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: idle %s, error %v", what, p.Idle, err)
		}
	}
	expect("at first", 7*time.Minute, "")
	if s.Refresh() {
		t.Error("read again though nothing changed")
	}
	change := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if !s.Refresh() {
			t.Error("a change was not noticed")
		}
	}
	change(paths.Owner, "idle: 77x")
	expect("a bad file", 7*time.Minute, "owner.yaml:1:7: idle: ")
	change(paths.Owner, "idle: 8m3s\nexclusive: [zoom]")
	expect("mended", 8*time.Minute+3*time.Second, "")
	if got := s.Exclusive(); len(got) != 1 || got[0] != "zoom" {
		t.Errorf("exclusive programs %q", got)
	}
	if err := os.Mkdir(paths.Local, 0o755); err != nil {
		t.Fatal(err)
	}
	if !s.Refresh() {
		t.Error("a folder was not noticed")
	}
	expect("a folder for a file", 8*time.Minute+3*time.Second, "is no regular file")
	if p, err := Open(write(t, map[string]string{"owner.yaml": "idle: x"})).Policy(); p != nil || err == nil {
		t.Errorf("a bad file at the start: %v, %v", p, err)
	}
}

func TestSetOwner(t *testing.T) {
	paths := write(t, map[string]string{"owner.yaml": "away: {cores: 2}\nexclusive: ['a b', c]\n"})
	state, err := os.OpenRoot(filepath.Dir(paths.Owner))
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	for _, set := range [][2]string{
		{"away.memory", "20%"}, {"hours", "{mon: 18:00-24:00}"}, {"in_use.cores", "1"}, {"refuse.jobs", "[x*]"},
	} {
		if err := SetOwner(state, set[0], &set[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := SetOwner(state, "away.cores", nil); err != nil {
		t.Fatal(err)
	}
	want := `# What the owner of this PC set. Written by gridagent: comments are lost.
in_use:
  cores: 1
away:
  memory: 20%
hours: {mon: 18:00-24:00}
exclusive: ["a b", "c"]
refuse:
  jobs: ["x*"]
`
	if got, err := state.ReadFile(OwnerFile); string(got) != want || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	if info, err := state.Stat(OwnerFile); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	long := "[" + strings.Repeat("0123456789abcdef, ", 256) + "0123456789abcdef]"
	for _, c := range []struct{ key, value, says, hint string }{
		{"idel", "5m", `"idel" is no key of a policy`, "did you mean idle?"},
		{"xyz", "5m", `"xyz" is no key of a policy`, "`gridagent policy show` lists all keys"},
		{"away", "{cores: 1}", `"away" is no key of a policy`, ""},
		{"locked", "[idle]", `"locked" is no key of a policy`, ""},
		{"idle", "5", `idle: is 5, expected a duration from 10s to 24h`, "write it like 5m or 90s"},
		{"away.memory", "95%", `away.memory: is the text "95%", expected a share from 0% to 90%`, ""},
		{"native", "true\nidle: 1m", `native: "true�idle: 1m" is no value on one line`, ""},
		{"idle", "", `idle: `, ""},
		{"idle", "[", `idle: `, ""},
		{"idle", "5m, on_battery: true", `idle: `, ""},
		{"refuse.submitters", long, "refuse.submitters: has 257 items, expected at most 256", ""},
	} {
		err := SetOwner(state, c.key, &c.value)
		if jobs.KindOf(err) != jobs.Invalid || !strings.HasPrefix(err.Error(), c.says) || c.hint != "" && jobs.HintOf(err) != c.hint {
			t.Errorf("%s: %.80s: %v, hint %q", c.key, c.value, err, jobs.HintOf(err))
		}
	}
	if err := SetOwner(state, "idel", nil); jobs.KindOf(err) != jobs.Invalid {
		t.Errorf("a key that is none is taken out: %v", err)
	}
	if got, err := state.ReadFile(OwnerFile); string(got) != want || err != nil {
		t.Errorf("after errors %s, %v", got, err)
	}
}

// TestSetOwnerOfAStore: what is set counts at once, whatever a file system's clock says; a locked key is refused, and can
// be taken out. Files that are bad stay bad.
func TestSetOwnerOfAStore(t *testing.T) {
	paths := write(t, map[string]string{"etc/policy.yaml": "locked:\n- on_battery\n", "owner.yaml": "on_battery: true\n"})
	state, err := os.OpenRoot(filepath.Dir(paths.Owner))
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	s := Open(paths)
	for _, value := range []string{"10m", "20m", "30m"} {
		if err := s.SetOwner(state, "idle", &value); err != nil {
			t.Fatal(err)
		}
		if p, err := s.Policy(); err != nil || showDuration(p.Idle) != value {
			t.Errorf("idle is %s, expected %s, %v", p.Idle, value, err)
		}
	}
	yes := "true"
	err = s.SetOwner(state, "on_battery", &yes)
	if jobs.KindOf(err) != jobs.Denied || err.Error() != "on_battery: "+paths.Machine[0]+":2 locks it" || !strings.HasPrefix(jobs.HintOf(err), "it is false") {
		t.Errorf("a locked key: %v, hint %q", err, jobs.HintOf(err))
	}
	if p, _ := s.Policy(); len(p.Warnings) != 1 {
		t.Errorf("warnings %q", p.Warnings)
	}
	if err := s.SetOwner(state, "on_battery", nil); err != nil {
		t.Error(err)
	}
	if p, _ := s.Policy(); len(p.Warnings) != 0 {
		t.Errorf("warnings %q after it was taken out", p.Warnings)
	}
	if err := os.WriteFile(paths.Local, []byte("idle: never\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	value := "40m"
	if err := s.SetOwner(state, "idle", &value); err != nil {
		t.Error(err)
	}
	if p, err := s.Policy(); err == nil || showDuration(p.Idle) != "30m" {
		t.Errorf("with a bad file beside it idle is %s, %v", p.Idle, err)
	}
	if err := os.WriteFile(paths.Owner, []byte("idle: never\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.SetOwner(state, "idle", &value); jobs.KindOf(err) != jobs.Invalid || !strings.HasPrefix(jobs.HintOf(err), "mend owner.yaml in ") {
		t.Errorf("a bad file of the owner's: %v, hint %q", err, jobs.HintOf(err))
	}
}

// TestShownIsRead: what is shown of any value means the same in a file.
func TestShownIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := Defaults()
		share := rapid.Map(rapid.IntRange(0, 90), func(n int) float64 { return float64(n) / 100 })
		for _, u := range []*Use{&v.InUse, &v.Away} {
			u.Cores = Amount{N: rapid.IntRange(0, 100).Draw(t, "cores"), Percent: rapid.Bool().Draw(t, "percent")}
			u.Others, u.Memory = share.Draw(t, "others"), share.Draw(t, "memory")
			u.DiskWrite = rapid.Int64Range(0, 1<<20).Draw(t, "disk") << 20
			u.Network = rapid.SampledFrom([]int64{0, 1 << 10, 1 << 30, Unlimited}).Draw(t, "network")
		}
		v.Idle = time.Duration(rapid.IntRange(10, 86400).Draw(t, "idle")) * time.Second
		v.GiveBack = time.Duration(rapid.IntRange(0, 86400_000).Draw(t, "give back")) * time.Millisecond
		v.MaxTemperature = rapid.SampledFrom([]float64{0, 30, 71.5, 120}).Draw(t, "temperature")
		v.Exclusive = rapid.SliceOfN(rapid.StringMatching(`[a-zA-Z0-9 ._"'\-é]{1,20}`), 1, 3).Draw(t, "exclusive")
		for d := range v.Hours.Days {
			v.Hours.set[d] = rapid.Bool().Draw(t, "set")
			if from := rapid.IntRange(0, day-1).Draw(t, "from"); v.Hours.set[d] && from%3 > 0 {
				v.Hours.Days[d] = []Span{{From: from, To: rapid.IntRange(from+1, day).Draw(t, "to")}}
			}
		}
		got := Defaults()
		for _, k := range keys() {
			group, name, grouped := strings.Cut(k.name, ".")
			text := fmt.Sprintf("%s: %s", group, k.show(&v))
			if grouped {
				text = fmt.Sprintf("%s: {%s: %s}", group, name, k.show(&v))
			}
			l, err := decode([]byte(text), "p", Owner)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			l.set[k.name](&got)
		}
		if !reflect.DeepEqual(got, v) {
			t.Fatalf("got %+v, expected %+v", got, v)
		}
	})
}

// FuzzDecode: anything is a policy within bounds or problems that a person can read.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		"", "locked: [away, idle]\naway:\n  cores: 50%\n", "hours: {mon-fri: 00:00-07:30 and 18:00-24:00, sat: none}",
		"exclusive: [a, \"\\x00\"]", "idle: 9999999h", "disk: 99999999999999999999GiB", "away: {network: -1KiB/s}",
		"refuse: {submitters: [0123456789], jobs: ['a*', '[']}", "max_temperature: 1e400", "- a", "a: b: c", "\xff", "hours: {mon-mon: 0:00-24:00}",
		"idle:\n  - 5m\n", "min_charge: 0%\nfree_memory: 90%", "on_battery: true\nnative: false\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := decode(text, "p.yaml", Machine)
		if err != nil {
			var problems yamlfile.Problems
			if !errors.As(err, &problems) || len(problems) == 0 || l != nil {
				t.Fatalf("error %v of type %T with %v", err, err, l)
			}
			for _, p := range problems {
				if line := p.Error() + p.Hint; p.Message == "" || !utf8.ValidString(line) || strings.IndexFunc(line, unicode.IsControl) >= 0 || len(line) > 4000 {
					t.Fatalf("%q is no readable line", line)
				}
			}
			return
		}
		p := merge([]*layer{l})
		for _, u := range []Use{p.InUse, p.Away, p.InUse.Least(p.Away, 8)} {
			if n := u.Cores.Of(8); n < 0 || n > 8 || !(u.Others >= 0 && u.Others <= 1) || !(u.Memory >= 0 && u.Memory <= 0.9) || u.DiskWrite < 0 || u.Network < 0 {
				t.Fatalf("out of bounds: %+v", u)
			}
		}
		if p.Idle < 0 || p.Idle > maxWait || p.GiveBack < 0 || p.Resume < 0 || !(p.MinCharge >= 0 && p.MinCharge <= 1) || !(p.MaxTemperature >= 0) {
			t.Fatalf("out of bounds: %+v", p.Values)
		}
		p.Hours.Next(time.Unix(0, 0))
		p.Takes(&manifest.Manifest{Name: "a"})
	})
}

// TestDocs: the docs have every key.
func TestDocs(t *testing.T) {
	docs, err := os.ReadFile("../../../../deploy/docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys() {
		if !strings.Contains(string(docs), k.name) {
			t.Errorf("deploy/docs/policy.md lacks %s", k.name)
		}
	}
}
