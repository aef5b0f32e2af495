package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// field is a value in a job.yaml and what people call it.
type field struct {
	name string
	node ast.Node // nil: not there
}

func (f field) present() bool { return f.node != nil }

// reader turns fields into values and collects what is wrong with them. Its methods return false when
// there is no value to go on with, and have said why.
type reader struct {
	file     string
	problems Problems
}

func (r *reader) add(p *Problem) {
	p.File = r.file
	r.problems = append(r.problems, *p)
}

// wrong reports a problem at a field; hint may be empty.
func (r *reader) wrong(f field, message, hint string) {
	p := at(f.node, message)
	p.Field, p.Hint = f.name, hint
	r.add(p)
}

// fields returns the values of a map by their keys. The keys are named in problems as parent.key.
func (r *reader) fields(f field, known []string) (map[string]field, bool) {
	entries, ok := r.entries(f)
	if !ok {
		return nil, false
	}
	values := make(map[string]field)
	for _, e := range entries {
		if slices.Contains(known, e.key) {
			values[e.key] = e.field
			continue
		}
		hint := "known keys are " + strings.Join(known, ", ")
		if near := nearest(e.key, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		p := at(e.keyNode, "unknown key")
		p.Field, p.Hint = e.name, hint
		r.add(p)
	}
	return values, true
}

type entry struct {
	field
	key     string
	keyNode ast.Node
}

// entries returns what is in a map, each key once.
func (r *reader) entries(f field) ([]entry, bool) {
	var values []*ast.MappingValueNode
	switch n := f.node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		r.wrong(f, "is "+describe(f.node)+", expected a map of key: value", "")
		return nil, false
	}
	var entries []entry
	first := make(map[string]int)
	for _, v := range values {
		key := v.Key.GetToken().Value
		e := entry{field: field{name: clip(key), node: v.Value}, key: key, keyNode: v.Key}
		if f.name != "" {
			e.name = f.name + "." + e.name
		}
		if line, seen := first[key]; seen {
			p := at(v.Key, fmt.Sprintf("duplicate key, the first is on line %d", line))
			p.Field, p.Hint = e.name, "remove one of the two"
			r.add(p)
			continue
		}
		first[key] = v.Key.GetToken().Position.Line
		entries = append(entries, e)
	}
	return entries, true
}

// list returns the items of a list, named parent[0] and so on.
func (r *reader) list(f field) ([]field, bool) {
	n, ok := f.node.(*ast.SequenceNode)
	if !ok {
		r.wrong(f, "is "+describe(f.node)+", expected a list", "a list is written [one, another]")
		return nil, false
	}
	var items []field
	for i, v := range n.Values {
		items = append(items, field{name: fmt.Sprintf("%s[%d]", f.name, i), node: v})
	}
	return items, true
}

// text returns a value as it is written. Numbers and true or false are text too: nobody should have to
// quote the 7 in args: [solve, 7].
func (r *reader) text(f field) (string, bool) {
	var s string
	switch n := f.node.(type) {
	case *ast.StringNode:
		s = n.Value
	case *ast.LiteralNode:
		s = n.Value.Value
	case *ast.NullNode:
		r.wrong(f, "is empty, expected text", `write "" for an empty text`)
		return "", false
	default:
		scalar, ok := plainScalar(f.node)
		if !ok {
			r.wrong(f, "is "+describe(f.node)+", expected text", "put it in quotes if it is meant as text")
			return "", false
		}
		s = scalar
	}
	if !validText(s) {
		r.wrong(f, "has a NUL character, which no argument or variable can hold", "")
		return "", false
	}
	return s, true
}

// plainScalar returns the text of an unquoted scalar that YAML takes for something other than text.
func plainScalar(node ast.Node) (string, bool) {
	switch node.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, true
	}
	return "", false
}

// number returns a whole number from lo to hi, written in decimal; 0 for anything else, which it notes.
func (r *reader) number(f field, lo, hi uint64) uint64 {
	expected := fmt.Sprintf("expected a whole number from %d to %d", lo, hi)
	text, plain := plainScalar(f.node)
	if s, ok := f.node.(*ast.StringNode); ok && s.Token.Type == token.StringType {
		text, plain = s.Value, true // an integer that is too long for the library
	}
	digits, negative := strings.CutPrefix(strings.ReplaceAll(text, "_", ""), "-")
	if !plain || digits == "" || strings.Trim(digits, "0123456789") != "" {
		r.wrong(f, "is "+describe(f.node)+", "+expected, "")
		return 0
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || negative && n > 0 || n < lo || n > hi {
		r.wrong(f, "is "+clip(text)+", "+expected, "")
		return 0
	}
	return n
}

// describe says what a node is, for "is …, expected …".
func describe(node ast.Node) string {
	if text, ok := plainScalar(node); ok {
		return clip(text)
	}
	switch n := node.(type) {
	case *ast.NullNode:
		return "empty"
	case *ast.StringNode:
		return fmt.Sprintf("the text %q", clip(n.Value))
	case *ast.LiteralNode:
		return "a text of several lines"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a map"
	}
	return "something else"
}

// nearest returns the known key that differs from key by the fewest edits, or "" when none is near.
func nearest(key string, known []string) string {
	const longest = 40
	if len(key) > longest {
		return ""
	}
	best, fewest := "", 3
	for _, k := range known {
		if d := editDistance(strings.ToLower(key), k); d < fewest && d < len(k) {
			best, fewest = k, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions and replacements that turn a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
