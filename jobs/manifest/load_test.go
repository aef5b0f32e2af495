package manifest_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

// checkProgram stands for the executor's check of a module.
func checkProgram(_ string, wasm []byte) error {
	if !bytes.HasPrefix(wasm, []byte("\x00asm")) {
		return jobs.Errorf(jobs.Invalid, "is no WebAssembly module")
	}
	if name, found := bytes.CutPrefix(wasm, []byte("\x00asm imports ")); found {
		err := jobs.Errorf(jobs.Invalid, "imports %s, which nobody provides", name)
		return jobs.WithHint(err, "build for wasip1")
	}
	return nil
}

// folder makes a job's folder with these files beside what every test may name.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	all := map[string]string{
		"job.wasm": "\x00asm job", "combine.wasm": "\x00asm combine", "text.wasm": "hello",
		"socket.wasm": "\x00asm imports env.socket", "in.txt": "stdin",
		"data/a.csv": "a", "data/b.csv": "b", "data/deep/c.csv": "c", "data/.hidden.csv": "h", "data/deep/d.txt": "d",
	}
	for name, content := range files {
		all[name] = content
	}
	for name, content := range all {
		write(t, filepath.Join(dir, filepath.FromSlash(name)), content)
	}
	return dir
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func load(t testing.TB, dir, yaml string) (*manifest.Spec, error) {
	t.Helper()
	path := filepath.Join(dir, "job.yaml")
	write(t, path, yaml)
	return manifest.Load(path, checkProgram)
}

const minimal = "name: tour\nprogram: job.wasm\nunits: {count: 200}\n"

func TestLoadDefaults(t *testing.T) {
	dir := folder(t, nil)
	spec, err := load(t, dir, minimal)
	if err != nil {
		t.Fatal(err)
	}
	want := manifest.Manifest{
		Name: "tour", Runtime: manifest.RuntimeWasm, Units: 200, Bundle: 1, Quorum: 1, Memory: 256 << 20,
		Timeout: 10 * time.Minute, Retries: 2, SuccessCodes: []uint32{0}, MinVersion: manifest.Version,
	}
	if !reflect.DeepEqual(spec.Job, want) {
		t.Errorf("got %+v, want %+v", spec.Job, want)
	}
	if spec.Keep != 14*24*time.Hour || spec.Dir != dir || spec.Program != "job.wasm" || spec.Inputs != nil ||
		spec.Stdin != "" || spec.CombineProgram != "" {
		t.Errorf("got %+v", spec)
	}
}

func TestLoadEverything(t *testing.T) {
	spec, err := load(t, folder(t, nil), `# A job with all there is.
name: Tour_2.final
program: ./job.wasm
args: [solve, 7, 007, 1.50, true, 1_000, 0x10, "${unit}", "$${unit}", ""]
env:
  SEED: ${unit}
  LANG: C
  N: 3
stdin: in.txt
inputs:
  - data/*.csv
  - data/**/*.txt
  - data//deep/../deep/c.csv
units: {count: 40000}
memory: 4GiB
timeout: 1h30m
checkpoint: 90s
retries: 0
success_codes: [3, 0, 3]
keep: 30d
combine: {program: combine.wasm, args: [combine, 9]}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := manifest.Manifest{
		Name: "Tour_2.final", Runtime: manifest.RuntimeWasm, Units: 40000, Bundle: 3, Quorum: 1, Memory: 4 << 30,
		Args:    []string{"solve", "7", "007", "1.50", "true", "1_000", "0x10", "${unit}", "$${unit}", ""},
		Env:     []manifest.EnvVar{{Name: "LANG", Value: "C"}, {Name: "N", Value: "3"}, {Name: "SEED", Value: "${unit}"}},
		Timeout: 90 * time.Minute, Checkpoint: 90 * time.Second, SuccessCodes: []uint32{0, 3}, MinVersion: manifest.Version,
		Combine: &manifest.Combine{Args: []string{"combine", "9"}},
	}
	if !reflect.DeepEqual(spec.Job, want) {
		t.Errorf("got %+v, want %+v", spec.Job, want)
	}
	inputs := []string{"data/a.csv", "data/b.csv", "data/deep/c.csv", "data/deep/d.txt"}
	if !reflect.DeepEqual(spec.Inputs, inputs) || spec.Stdin != "in.txt" || spec.CombineProgram != "combine.wasm" {
		t.Errorf("got %+v", spec)
	}
}

func TestGlobs(t *testing.T) {
	dir := folder(t, map[string]string{".git/config": "x", "data/deep/er/e.csv": "e"})
	tests := []struct{ glob, want string }{
		{"data/*.csv", "data/a.csv data/b.csv"},
		{"data/[a-a].csv", "data/a.csv"},
		{"data/?.csv", "data/a.csv data/b.csv"},
		{"*/*.csv", "data/a.csv data/b.csv"},
		{"data/.*", "data/.hidden.csv"},
		{"data/*", "data/a.csv data/b.csv"},
		{"data/**", "data/a.csv data/b.csv data/deep/c.csv data/deep/d.txt data/deep/er/e.csv"},
		{"**/*.csv", "data/a.csv data/b.csv data/deep/c.csv data/deep/er/e.csv"},
		{"data/**/e.csv", "data/deep/er/e.csv"},
		{".git/*", ".git/config"},
	}
	for _, test := range tests {
		spec, err := load(t, dir, minimal+"inputs: ['"+test.glob+"']\n")
		if err != nil {
			t.Errorf("%s: %v", test.glob, err)
			continue
		}
		if got := strings.Join(spec.Inputs, " "); got != test.want {
			t.Errorf("%s: got %s, want %s", test.glob, got, test.want)
		}
	}
}

func TestLoadBundle(t *testing.T) {
	dir := folder(t, nil)
	tests := []struct {
		units  uint64
		bundle string
		want   uint32
	}{
		{1, "", 1},
		{16384, "", 1},
		{16385, "", 2},
		{32769, "", 3},
		{manifest.MaxUnits, "", manifest.MaxBundle},
		{10, "bundle: 5", 5},
	}
	for _, test := range tests {
		spec, err := load(t, dir, fmt.Sprintf("name: a\nprogram: job.wasm\nunits: {count: %d}\n%s\n", test.units, test.bundle))
		if err != nil {
			t.Errorf("%d units: %v", test.units, err)
		} else if spec.Job.Bundle != test.want {
			t.Errorf("%d units: bundle %d, want %d", test.units, spec.Job.Bundle, test.want)
		}
	}
}

// TestLoadProblems has a line for every way in which one field can be wrong. A line of YAML replaces the
// field of the minimal job, so that nothing else is wrong.
func TestLoadProblems(t *testing.T) {
	dir := folder(t, nil)
	big := strings.Repeat("x", 9000)
	tests := []struct{ yaml, want string }{
		{"nam: x", "4:1: nam: unknown key // did you mean name?"},
		{"retrys: 3", "4:1: retrys: unknown key // did you mean retries?"},
		{"Timeout: 3s", "4:1: Timeout: unknown key // did you mean timeout?"},
		{"<<: {}", "4:1: <<: unknown key // known keys are name, program, args, env, stdin, inputs, units, memory, " +
			"timeout, retries, checkpoint, success_codes, bundle, keep, combine"},
		{"name: other", "4:1: name: duplicate key, the first is on line 1 // remove one of the two"},
		{"env: {A: 1, A: 2}", "4:13: env.A: duplicate key, the first is on line 4 // remove one of the two"},
		{"name: ''", `1:7: name: is "", expected 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first`},
		{"name: a b", `1:7: name: is "a b", expected 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first`},
		{"name:", `1:6: name: is empty, expected text // write "" for an empty text`},
		{"name: [a]", "1:7: name: is a list, expected text // put it in quotes if it is meant as text"},
		{"program: no.wasm", `1:10: program: "no.wasm" does not exist // paths are relative to the folder of job.yaml`},
		{"program: data", `1:10: program: "data" is a folder, expected a file // in inputs, data/* names the files in it`},
		{"program: .", `1:10: program: "." is a folder, expected a file // in inputs, * names the files in it`},
		{"program: text.wasm", "1:10: program: is no WebAssembly module"},
		{"program: socket.wasm", "1:10: program: imports env.socket, which nobody provides // build for wasip1"},
		{"program: ''", `1:10: program: "" is an empty path`},
		{"program: ../job.wasm", `1:10: program: "../job.wasm" leaves the job's folder // copy the file into the job's folder, or move job.yaml`},
		{"program: data/../../x", `1:10: program: "data/../../x" leaves the job's folder // copy the file into the job's folder, or move job.yaml`},
		{"program: /bin/sh", `1:10: program: "/bin/sh" is an absolute path // copy the file into the job's folder, or move job.yaml`},
		{"program: C:/x.wasm", `1:10: program: "C:/x.wasm" is an absolute path // copy the file into the job's folder, or move job.yaml`},
		{`program: data\x`, `1:10: program: "data\\x" has a backslash // separate folders by /`},
		{`program: "a\u0007b"`, `1:10: program: "a` + "\ufffd" + `b" is no path that works everywhere: at most 1024 bytes, none invisible`},
		{"args: solve", `4:7: args: is the text "solve", expected a list // a list is written [one, another]`},
		{"args: [a, [b]]", "4:11: args[1]: is a list, expected text // put it in quotes if it is meant as text"},
		{"args: [a, ~]", `4:11: args[1]: is empty, expected text // write "" for an empty text`},
		{`args: ["a\0"]`, "4:8: args[0]: has a NUL character, which no argument or variable can hold"},
		{"args: ['${host}']", "4:8: args[0]: has the unknown variable ${host} // did you mean ${unit}? It is the only variable; write $${ for ${ itself"},
		{"args: ['${unit']", "4:8: args[0]: has a ${ without its } // did you mean ${unit}? It is the only variable; write $${ for ${ itself"},
		{"env: {A: '${u}'}", "4:10: env.A: has the unknown variable ${u} // did you mean ${unit}? It is the only variable; write $${ for ${ itself"},
		{"env: [A=b]", "4:6: env: is a list, expected a map of key: value"},
		{"env: {'A=': b}", "4:13: env.A=: is no name of a variable, expected text without = and NUL"},
		{"stdin: no.txt", `4:8: stdin: "no.txt" does not exist // paths are relative to the folder of job.yaml`},
		{"inputs: in.txt", `4:9: inputs: is the text "in.txt", expected a list // a list is written [one, another]`},
		{"inputs: [data]", `4:10: inputs[0]: "data" is a folder, expected a file // in inputs, data/* names the files in it`},
		{"inputs: [data/*.png]", `4:10: inputs[0]: "data/*.png" matches no file // * does not look into folders, ** does`},
		{"inputs: ['d*']", `4:10: inputs[0]: "d*" matches no file // * does not look into folders, ** does`},
		{"inputs: [no.csv]", `4:10: inputs[0]: "no.csv" does not exist // paths are relative to the folder of job.yaml`},
		{"inputs: ['data/[a']", `4:10: inputs[0]: "data/[a" is no glob: syntax error in pattern`},
		{"inputs: ['**/a/**']", `4:10: inputs[0]: "**/a/**" has ** more than once`},
		{"inputs: ['../*']", `4:10: inputs[0]: "../*" leaves the job's folder // copy the file into the job's folder, or move job.yaml`},
		{"inputs: [{from: a}]", "4:10: inputs[0]: is a map, expected text // put it in quotes if it is meant as text"},
		{"inputs: [data/a.csv, 'data/*']", `4:22: inputs[1]: gives "data/a.csv", which inputs[0] gives already // name each file once`},
		{"units: 10", "1:8: units: is 10, expected a map with count // write units: {count: 10}"},
		{"units: {}", "1:8: units.count: missing // write units: {count: 100}"},
		{"units: {cout: 1}", "1:8: units.count: missing // write units: {count: 100}\n1:9: units.cout: unknown key // did you mean count?"},
		{"units: {count: 0}", "1:16: units.count: is 0, expected a whole number from 1 to 1000000000"},
		{"units: {count: -1}", "1:16: units.count: is -1, expected a whole number from 1 to 1000000000"},
		{"units: {count: 1000000001}", "1:16: units.count: is 1000000001, expected a whole number from 1 to 1000000000"},
		{"units: {count: 99999999999999999999}", "1:16: units.count: is 99999999999999999999, expected a whole number from 1 to 1000000000"},
		{"units: {count: 1.5}", "1:16: units.count: is 1.5, expected a whole number from 1 to 1000000000"},
		{"units: {count: '10'}", `1:16: units.count: is the text "10", expected a whole number from 1 to 1000000000`},
		{"units: {count: ten}", `1:16: units.count: is the text "ten", expected a whole number from 1 to 1000000000`},
		{"memory: 256", "4:9: memory: is 256, expected a size in KiB, MiB or GiB // write memory: 256MiB"},
		{"memory: 256MB", `4:9: memory: is the text "256MB", expected a size in KiB, MiB or GiB // write memory: 256MiB`},
		{"memory: 5GiB", "4:9: memory: is 5GiB, expected 64KiB to 4GiB in steps of 64KiB // a WebAssembly module has pages of 64KiB and can address 4GiB"},
		{"memory: 0KiB", "4:9: memory: is 0KiB, expected 64KiB to 4GiB in steps of 64KiB // a WebAssembly module has pages of 64KiB and can address 4GiB"},
		{"memory: 100KiB", "4:9: memory: is 100KiB, expected 64KiB to 4GiB in steps of 64KiB // a WebAssembly module has pages of 64KiB and can address 4GiB"},
		{"memory: 99999999999999999999GiB", `4:9: memory: is the text "99999999999999999999GiB", expected a size in KiB, MiB or GiB // write memory: 256MiB`},
		{"timeout: 10", "4:10: timeout: is 10, expected a duration from 1ms to 24h // write timeout: 10m"},
		{"timeout: 25h", `4:10: timeout: is the text "25h", expected a duration from 1ms to 24h // write timeout: 10m`},
		{"timeout: -1s", `4:10: timeout: is the text "-1s", expected a duration from 1ms to 24h // write timeout: 10m`},
		{"timeout: 1d", `4:10: timeout: is the text "1d", expected a duration from 1ms to 24h // write timeout: 10m`},
		{"checkpoint: 120", "4:13: checkpoint: is 120, expected a duration from 1s to 24h, or 0 for no checkpoints // write checkpoint: 2m"},
		{"checkpoint: 999ms", `4:13: checkpoint: is the text "999ms", expected a duration from 1s to 24h, or 0 for no checkpoints // write checkpoint: 2m`},
		{"checkpoint: 25h", `4:13: checkpoint: is the text "25h", expected a duration from 1s to 24h, or 0 for no checkpoints // write checkpoint: 2m`},
		{"checkpoint: -1ms", `4:13: checkpoint: is the text "-1ms", expected a duration from 1s to 24h, or 0 for no checkpoints // write checkpoint: 2m`},
		{"checkpoint: [2m]", "4:13: checkpoint: is a list, expected text // put it in quotes if it is meant as text"},
		{"retries: 101", "4:10: retries: is 101, expected a whole number from 0 to 100"},
		{"retries:", "4:10: retries: is empty, expected a whole number from 0 to 100"},
		{"success_codes: 0", "4:16: success_codes: is 0, expected a list // a list is written [one, another]"},
		{"success_codes: []", "4:16: success_codes: has 0 exit codes, expected 1 to 64"},
		{"success_codes: [0, -1]", "4:20: success_codes[1]: is -1, expected a whole number from 0 to 4294967295"},
		{"bundle: 0", "4:9: bundle: is 0, expected a whole number from 1 to 16384"},
		{"bundle: 16385", "4:9: bundle: is 16385, expected a whole number from 1 to 16384"},
		{"keep: 14", "4:7: keep: is 14, expected days or a duration from 1m to 30d // write keep: 14d"},
		{"keep: 31d", `4:7: keep: is the text "31d", expected days or a duration from 1m to 30d // write keep: 14d`},
		{"keep: 99999999999999d", `4:7: keep: is the text "99999999999999d", expected days or a duration from 1m to 30d // write keep: 14d`},
		{"keep: 0d", `4:7: keep: is the text "0d", expected days or a duration from 1m to 30d // write keep: 14d`},
		{"combine:", "4:10: combine: is empty, expected a map of key: value"},
		{"combine: {arg: [a]}", "4:11: combine.arg: unknown key // did you mean args?"},
		{"combine: {program: text.wasm}", "4:20: combine.program: is no WebAssembly module"},
		{"combine: {args: ['${unit}']}", "4:18: combine.args[0]: has ${unit}, but combine runs once and has no unit // the units' results are at /in"},
		{"args: [" + big + ", " + big + "]", "4:7: args: takes 18006 bytes of a manifest of 18230, expected at most 16384 in all // put it into an input file and read that from /in"},
		{"env: {A: " + big + big + "}", "4:6: env: takes 18011 bytes of a manifest of 18235, expected at most 16384 in all // put it into an input file and read that from /in"},
		{"combine: {args: [a" + strings.Repeat(", ''", 9000) + "]}", "4:10: combine: takes 18051 bytes of a manifest of 18275, expected at most 16384 in all // put it into an input file and read that from /in"},
	}
	for _, test := range tests {
		if got := problemsOf(t, dir, replaceField(test.yaml)); got != test.want {
			t.Errorf("%.60s\n got %s\nwant %s", test.yaml, got, test.want)
		}
	}
}

// replaceField returns the minimal job with a line that takes the place of a required field, as the first,
// or is added as the fourth.
func replaceField(line string) string {
	key, _, _ := strings.Cut(line, ":")
	if line == "name: other" {
		return minimal + line
	}
	var rest []string
	for _, l := range strings.Split(strings.TrimSpace(minimal), "\n") {
		if !strings.HasPrefix(l, key+":") {
			rest = append(rest, l)
		}
	}
	if len(rest) == 2 {
		return line + "\n" + strings.Join(rest, "\n")
	}
	return minimal + line
}

// problemsOf loads a job that has problems and returns them as "line:col: field: message // hint".
func problemsOf(t *testing.T, dir, yaml string) string {
	t.Helper()
	spec, err := load(t, dir, yaml)
	var problems manifest.Problems
	if !errors.As(err, &problems) || len(problems) == 0 || spec != nil {
		return fmt.Sprintf("spec %v, error %v", spec, err)
	}
	if jobs.KindOf(err) != jobs.Invalid {
		t.Errorf("kind %s, want invalid", jobs.KindOf(err))
	}
	var lines []string
	for _, p := range problems {
		line := strings.TrimPrefix(p.Error(), filepath.Join(dir, "job.yaml")+":")
		if p.Hint != "" {
			line += " // " + p.Hint
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestLoadSyntaxProblems(t *testing.T) {
	dir := folder(t, nil)
	tests := []struct{ yaml, want string }{
		{"", " is empty, expected a job // a job has at least a name, a program and units"},
		{"# nothing\n---\n", " is empty, expected a job // a job has at least a name, a program and units"},
		{"- name", "1:1: is a list, expected a map of key: value"},
		{"tour", `1:1: is the text "tour", expected a map of key: value`},
		{"name: 'a", "1:7: cannot be read as YAML: could not find end character of single-quoted text"},
		{"a: b: c", "1:4: cannot be read as YAML: mapping value is not allowed in this context"},
		{"name: a\n\tprogram: b", "2:1: cannot be read as YAML: found character '\ufffd' that cannot start any token // YAML is indented by spaces, not tabs"},
		{"args: [a, ${unit}]", `1:12: cannot be read as YAML: ',' or ']' must be specified // put text with ${ in quotes when it stands between [ and ]`},
		{"inputs: [*.csv]", `1:10: * starts a YAML alias here, which a job.yaml cannot have // put text that begins with * in quotes: "*.csv"`},
		{"a: &x [1]\nb: *x", "1:4: & starts a YAML anchor here, which a job.yaml cannot have // put text that begins with & in quotes, and write a repeated value out"},
		{"? name\n: b", "1:1: ? starts a YAML key of several lines here, which a job.yaml cannot have // put text that begins with ? in quotes"},
		{"a: !!str b", "1:4: ! starts a YAML tag here, which a job.yaml cannot have // put text that begins with ! in quotes"},
		{"%YAML 1.2\n---\na: b", "1:1: % starts a YAML directive here, which a job.yaml cannot have"},
		{minimal + "---\n" + minimal, "4:1: a second document starts here, expected one a file"},
		{"a: b\n...\nc: d\n...\n", "3:1: a second document starts here, expected one a file"},
		{"name: é\xff", "1:8: is no UTF-8 text // save the file as UTF-8"},
		{strings.Repeat("#", 1<<20+1), " has more than 1 MiB // put what is large into an input file"},
		{"\"a\\nb\": 1", "1:1: a\ufffdb: unknown key // known keys are name, program, args, env, stdin, inputs, units, memory, " +
			"timeout, retries, checkpoint, success_codes, bundle, keep, combine\n1:1: name: missing // write name: my-job\n" +
			"1:1: program: missing // write program: my-job.wasm\n1:1: units: missing // write units: {count: 100}"},
	}
	for _, test := range tests {
		if got := problemsOf(t, dir, test.yaml); got != test.want {
			t.Errorf("%.60q\n got %s\nwant %s", test.yaml, got, test.want)
		}
	}
}

// TestLoadAcceptsOddForms has what is unusual and right.
func TestLoadAcceptsOddForms(t *testing.T) {
	dir := folder(t, nil)
	for _, yaml := range []string{
		"---\n" + minimal + "...\n",
		"\ufeff" + minimal,
		strings.ReplaceAll(minimal, "\n", "\r\n"),
		`{"name": "tour", "program": "job.wasm", "units": {"count": 200}}`,
		"# Comment\n" + "---\n" + strings.ReplaceAll(minimal, "200", "2_000"),
		minimal + "combine: {}\nargs: []\nenv: {}\ninputs: []\n",
	} {
		if _, err := load(t, dir, yaml); err != nil {
			t.Errorf("%q: %v", yaml, err)
		}
	}
}

func TestLoadTellsAllAtOnce(t *testing.T) {
	dir := folder(t, nil)
	got := problemsOf(t, dir, "memroy: 1GiB\nprogram: text.wasm\nunits: {count: 0}\ninputs: [no, data]\nretries: x\n")
	want := `1:1: memroy: unknown key // did you mean memory?
1:1: name: missing // write name: my-job
2:10: program: is no WebAssembly module
3:16: units.count: is 0, expected a whole number from 1 to 1000000000
4:10: inputs[0]: "no" does not exist // paths are relative to the folder of job.yaml
4:14: inputs[1]: "data" is a folder, expected a file // in inputs, data/* names the files in it
5:10: retries: is the text "x", expected a whole number from 0 to 100`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestProblemsAreOneText(t *testing.T) {
	p := manifest.Problems{
		{File: "job.yaml", Line: 3, Column: 8, Field: "units", Message: "is 0, expected more", Hint: "write 1"},
		{File: "job.yaml", Message: "is empty"},
	}
	want := "job.yaml:3:8: units: is 0, expected more\n  hint: write 1\njob.yaml: is empty"
	if p.Error() != want || jobs.HintOf(p) != "" {
		t.Errorf("got %s, hint %q", p.Error(), jobs.HintOf(p))
	}
}

func TestLoadBoundsTheList(t *testing.T) {
	var yaml strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&yaml, "k%d: 1\n", i)
	}
	got := strings.Split(problemsOf(t, folder(t, nil), yaml.String()), "\n")
	if len(got) != 51 || !strings.Contains(got[50], "and 953 more problems") {
		t.Errorf("%d lines, the last is %s", len(got), got[len(got)-1])
	}
}

func TestLoadWithoutFile(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "job.yaml"), dir} {
		_, err := manifest.Load(path, nil)
		if jobs.KindOf(err) != jobs.Invalid || !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("%v", err)
		}
	}
}

func TestLoadRefusesWaysOut(t *testing.T) {
	dir, outside := folder(t, nil), t.TempDir()
	write(t, filepath.Join(outside, "secret"), "s")
	for link, target := range map[string]string{
		"out": filepath.Join(outside, "secret"), "dirout": outside, "up": "../x", "broken": "nowhere",
		"inside": "in.txt", "round": ".",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Skip("no symbolic links here: ", err)
		}
	}
	const leaves = "is a link that leaves the job's folder // copy the file into the job's folder"
	tests := []struct{ yaml, want string }{
		{"stdin: out", `4:8: stdin: "out" ` + leaves},
		{"stdin: dirout/secret", `4:8: stdin: "dirout/secret" ` + leaves},
		{"inputs: ['ou*']", `4:10: inputs[0]: "out" ` + leaves},
		{"inputs: [up]", `4:10: inputs[0]: "up" ` + leaves},
		{"inputs: ['bro*']", `4:10: inputs[0]: "broken" does not exist // paths are relative to the folder of job.yaml`},
	}
	for _, test := range tests {
		if got := problemsOf(t, dir, minimal+test.yaml); got != test.want {
			t.Errorf("%s\n got %s\nwant %s", test.yaml, got, test.want)
		}
	}
	spec, err := load(t, dir, minimal+"inputs: [inside, '**/a.csv']")
	if err != nil || !reflect.DeepEqual(spec.Inputs, []string{"data/a.csv", "inside"}) {
		t.Errorf("got %+v, %v", spec, err)
	}
}

// TestLoadIsBounded has files whose like of a megabyte would take the YAML parser minutes, or its stack.
func TestLoadIsBounded(t *testing.T) {
	dir := folder(t, nil)
	repeat := func(s string) string { return strings.Repeat(s, 1<<17/len(s)) }
	tests := map[string]string{
		"a: " + repeat("["):              "too deep",
		"a: " + repeat("{"):              "too deep",
		repeat("- "):                     "too deep",
		repeat("? "):                     "several lines",
		repeat("a: 1\n"):                 "5000 keys",
		"a: {" + repeat("b: c,") + "}":   "5000 keys",
		"args:\n" + repeat("-\n"):        "20000 list items",
		"a: {" + repeat("a,") + "}":      "20000 list items",
		repeat("---\na\n"):               "second document",
		repeat("a\n...\n"):               "second document",
		"name: \"" + repeat("x\n ") + "": "quoted text",
	}
	for yaml, want := range tests {
		got := problemsOf(t, dir, yaml)
		if !strings.Contains(got, want) || len(got) > 200 {
			t.Errorf("%.20q: got %.300s, want %s", yaml, got, want)
		}
	}
}

// TestLoadTakesManyInputs stands on both sides of the limit, within what the YAML bounds allow.
func TestLoadTakesManyInputs(t *testing.T) {
	dir := folder(t, nil)
	for i := range manifest.MaxInputs {
		if err := os.Link(filepath.Join(dir, "in.txt"), filepath.Join(dir, "data", fmt.Sprintf("%05d.n", i))); err != nil {
			t.Skip("no hard links here: ", err)
		}
	}
	spec, err := load(t, dir, minimal+"inputs: [data/*.n]")
	if err != nil || len(spec.Inputs) != manifest.MaxInputs {
		t.Fatal(err)
	}
	want := "4:20: inputs[1]: makes more than 16384 files, which is the limit // put them into fewer files"
	if got := problemsOf(t, dir, minimal+"inputs: [data/*.n, in.txt]"); got != want {
		t.Errorf("got %s", got)
	}
}

// TestCheckpoint: the default has one form, however it is written, so that the job IDs of those who do not name it stay.
func TestCheckpoint(t *testing.T) {
	for line, want := range map[string]struct{ field, every time.Duration }{
		"":                  {0, 2 * time.Minute},
		"checkpoint: 2m":    {0, 2 * time.Minute},
		"checkpoint: 120s":  {0, 2 * time.Minute},
		"checkpoint: 0":     {manifest.NoCheckpoint, 0},
		"checkpoint: 0s":    {manifest.NoCheckpoint, 0},
		"checkpoint: 1s":    {time.Second, time.Second},
		"checkpoint: 1.5s":  {1500 * time.Millisecond, 1500 * time.Millisecond},
		"checkpoint: 24h":   {24 * time.Hour, 24 * time.Hour},
		"checkpoint: '10m'": {10 * time.Minute, 10 * time.Minute},
	} {
		spec, err := load(t, folder(t, nil), minimal+line+"\n")
		if err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		if got := spec.Job.Checkpoint; got != want.field || spec.Job.CheckpointEvery() != want.every {
			t.Errorf("%q: %s, every %s, expected %s and %s", line, got, spec.Job.CheckpointEvery(), want.field, want.every)
		}
		spec.Job.Quorum = 2
		if got := spec.Job.CheckpointEvery(); got != 0 {
			t.Errorf("%q: with two owners to report every %s", line, got)
		}
	}
}
