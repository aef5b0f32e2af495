package policy

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"idlegrid/jobs/yamlfile"
)

// maxFile bounds a policy file, in bytes.
const maxFile = 64 << 10

// Layer is who says something.
type Layer string

// The layers, the weakest first.
const (
	BuiltIn Layer = "built in"
	Machine Layer = "machine"
	Local   Layer = "local"
	Owner   Layer = "owner"
)

// source is where a value or a lock stands.
type source struct {
	layer Layer
	file  string
	line  int
}

// layer is what one file says.
type layer struct {
	set    map[string]func(*Values) // by the names of keys
	from   map[string]source        // of those
	locked map[string]source        // keys that this file locks
}

// decode reads a policy file. It never panics, whatever the text is.
func decode(text []byte, name string, of Layer) (*layer, error) {
	d := decoder{
		Reader: &yamlfile.Reader{File: name}, of: of,
		out: &layer{set: map[string]func(*Values){}, from: map[string]source{}, locked: map[string]source{}},
	}
	if len(text) > maxFile {
		d.Add(&yamlfile.Problem{Message: "has more than 64 KiB", Hint: "a policy has a few dozen lines"})
		return nil, d.Problems
	}
	body, problem := yamlfile.Parse(text, "a policy")
	if problem != nil {
		d.Add(problem)
		return nil, d.Problems
	}
	if body != nil {
		d.top(yamlfile.Field{Node: body})
	}
	if len(d.Problems) > 0 {
		return nil, d.Problems.Sorted()
	}
	return d.out, nil
}

type decoder struct {
	*yamlfile.Reader
	of  Layer
	out *layer
}

const lockedKey = "locked"

// top reads a whole file, group by group.
func (d *decoder) top(f yamlfile.Field) {
	groups, known := map[string][]key{}, []string{lockedKey}
	for _, k := range keys() {
		group, _, _ := strings.Cut(k.name, ".")
		if groups[group] == nil {
			known = append(known, group)
		}
		groups[group] = append(groups[group], k)
	}
	fields, _ := d.Fields(f, known)
	for group, f := range fields {
		switch ks := groups[group]; {
		case group == lockedKey:
			d.locks(f)
		case ks[0].name == group:
			d.key(ks[0], f)
		default:
			d.group(group, ks, f)
		}
	}
}

func (d *decoder) group(name string, ks []key, f yamlfile.Field) {
	var known []string
	for _, k := range ks {
		known = append(known, strings.TrimPrefix(k.name, name+"."))
	}
	fields, _ := d.Fields(f, known)
	for i, k := range ks {
		if f, there := fields[known[i]]; there {
			d.key(k, f)
		}
	}
}

func (d *decoder) key(k key, f yamlfile.Field) {
	if set := k.read(d.Reader, f); set != nil {
		d.out.set[k.name], d.out.from[k.name] = set, d.at(f.Node)
	}
}

func (d *decoder) at(node ast.Node) source {
	return source{layer: d.of, file: d.File, line: yamlfile.At(node, "").Line}
}

// owners are verbs that somebody may take for keys.
var owners = []string{"pause", "resume", "stop-jobs", "stop_jobs"}

// locks reads the keys that the machine's policy locks. The name of a group stands for all its keys.
func (d *decoder) locks(f yamlfile.Field) {
	if d.of != Machine {
		d.Wrong(f, "only the machine's policy can lock keys", "")
		return
	}
	items, _ := d.List(f)
	for _, item := range items {
		name, ok := d.Text(item)
		if !ok {
			continue
		}
		found := false
		for _, k := range keys() {
			if k.name == name || strings.HasPrefix(k.name, name+".") {
				d.out.locked[k.name], found = d.at(item.Node), true
			}
		}
		switch {
		case found:
		case slices.Contains(owners, name):
			d.Wrong(item, "is "+name+", which belongs to the owner and cannot be locked", "")
		default:
			d.unknownLock(item, name)
		}
	}
}

func (d *decoder) unknownLock(item yamlfile.Field, name string) {
	d.Wrong(item, "is "+yamlfile.Describe(item.Node)+", which is no key", keyHint(name))
}

// keyHint says what may be meant by a name that is no key's.
func keyHint(name string) string {
	if near := yamlfile.Nearest(name, Keys()); near != "" {
		return "did you mean " + near + "?"
	}
	return "`gridagent policy show` lists all keys"
}
