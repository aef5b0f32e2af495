package yamlfile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Field is a value in a file and what people call it.
type Field struct {
	Name string
	Node ast.Node // nil: not there
}

// Present reports whether the file has the field.
func (f Field) Present() bool { return f.Node != nil }

// Reader turns fields into values and collects what is wrong with them. Its methods return false when
// there is no value to go on with, and have said why.
type Reader struct {
	File     string // as problems name it
	Problems Problems
}

// Add notes a problem of this file.
func (r *Reader) Add(p *Problem) {
	p.File = r.File
	r.Problems = append(r.Problems, *p)
}

// Wrong reports a problem at a field; hint may be empty.
func (r *Reader) Wrong(f Field, message, hint string) {
	p := At(f.Node, message)
	p.Field, p.Hint = f.Name, hint
	r.Add(p)
}

// Fields returns the values of a map by their keys. The keys are named in problems as parent.key.
func (r *Reader) Fields(f Field, known []string) (map[string]Field, bool) {
	entries, ok := r.Entries(f)
	if !ok {
		return nil, false
	}
	values := make(map[string]Field)
	for _, e := range entries {
		if slices.Contains(known, e.Key) {
			values[e.Key] = e.Field
			continue
		}
		hint := "known keys are " + strings.Join(known, ", ")
		if near := Nearest(e.Key, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		p := At(e.KeyNode, "unknown key")
		p.Field, p.Hint = e.Name, hint
		r.Add(p)
	}
	return values, true
}

// Entry is a key of a map and its value.
type Entry struct {
	Field
	Key     string
	KeyNode ast.Node
}

// Entries returns what is in a map, each key once.
func (r *Reader) Entries(f Field) ([]Entry, bool) {
	var values []*ast.MappingValueNode
	switch n := f.Node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		r.Wrong(f, "is "+Describe(f.Node)+", expected a map of key: value", "")
		return nil, false
	}
	var entries []Entry
	first := make(map[string]int)
	for _, v := range values {
		key := v.Key.GetToken().Value
		e := Entry{Field: Field{Name: Clip(key), Node: v.Value}, Key: key, KeyNode: v.Key}
		if f.Name != "" {
			e.Name = f.Name + "." + e.Name
		}
		if line, seen := first[key]; seen {
			p := At(v.Key, fmt.Sprintf("duplicate key, the first is on line %d", line))
			p.Field, p.Hint = e.Name, "remove one of the two"
			r.Add(p)
			continue
		}
		first[key] = v.Key.GetToken().Position.Line
		entries = append(entries, e)
	}
	return entries, true
}

// List returns the items of a list, named parent[0] and so on.
func (r *Reader) List(f Field) ([]Field, bool) {
	n, ok := f.Node.(*ast.SequenceNode)
	if !ok {
		r.Wrong(f, "is "+Describe(f.Node)+", expected a list", "a list is written [one, another]")
		return nil, false
	}
	var items []Field
	for i, v := range n.Values {
		items = append(items, Field{Name: fmt.Sprintf("%s[%d]", f.Name, i), Node: v})
	}
	return items, true
}

// Text returns a value as it is written. Numbers and true or false are text too: nobody should have to
// quote the 7 in args: [solve, 7].
func (r *Reader) Text(f Field) (string, bool) {
	var s string
	switch n := f.Node.(type) {
	case *ast.StringNode:
		s = n.Value
	case *ast.LiteralNode:
		s = n.Value.Value
	case *ast.NullNode:
		r.Wrong(f, "is empty, expected text", `write "" for an empty text`)
		return "", false
	default:
		scalar, ok := PlainScalar(f.Node)
		if !ok {
			r.Wrong(f, "is "+Describe(f.Node)+", expected text", "put it in quotes if it is meant as text")
			return "", false
		}
		s = scalar
	}
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		r.Wrong(f, "has a NUL character, which no argument or variable can hold", "")
		return "", false
	}
	return s, true
}

// PlainScalar returns the text of an unquoted scalar that YAML takes for something other than text.
func PlainScalar(node ast.Node) (string, bool) {
	switch node.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, true
	}
	return "", false
}

// Number returns a whole number from lo to hi, written in decimal; 0 for anything else, which it notes.
func (r *Reader) Number(f Field, lo, hi uint64) uint64 {
	expected := fmt.Sprintf("expected a whole number from %d to %d", lo, hi)
	text, plain := PlainScalar(f.Node)
	if s, ok := f.Node.(*ast.StringNode); ok && s.Token.Type == token.StringType {
		text, plain = s.Value, true // an integer that is too long for the library
	}
	digits, negative := strings.CutPrefix(strings.ReplaceAll(text, "_", ""), "-")
	if !plain || digits == "" || strings.Trim(digits, "0123456789") != "" {
		r.Wrong(f, "is "+Describe(f.Node)+", "+expected, "")
		return 0
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || negative && n > 0 || n < lo || n > hi {
		r.Wrong(f, "is "+Clip(text)+", "+expected, "")
		return 0
	}
	return n
}

// Decimal returns a number from lo to hi, written in decimal; 0 for anything else, which it notes.
func (r *Reader) Decimal(f Field, lo, hi float64) float64 {
	text, plain := PlainScalar(f.Node)
	n, err := strconv.ParseFloat(text, 64)
	// ParseFloat knows more than that, such as 0x1p4 and nan.
	if !plain || err != nil || strings.Trim(text, "0123456789+-.") != "" || n < lo || n > hi {
		show := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
		r.Wrong(f, fmt.Sprintf("is %s, expected a number from %s to %s", Describe(f.Node), show(lo), show(hi)), "")
		return 0
	}
	return n
}

// Flag returns a value that is true or false.
func (r *Reader) Flag(f Field) (value, ok bool) {
	if n, ok := f.Node.(*ast.BoolNode); ok {
		return n.Value, true
	}
	r.Wrong(f, "is "+Describe(f.Node)+", expected true or false", "")
	return false, false
}

// Describe says what a node is, for "is …, expected …".
func Describe(node ast.Node) string {
	if text, ok := PlainScalar(node); ok {
		return Clip(text)
	}
	switch n := node.(type) {
	case *ast.NullNode:
		return "empty"
	case *ast.StringNode:
		return fmt.Sprintf("the text %q", Clip(n.Value))
	case *ast.LiteralNode:
		return "a text of several lines"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a map"
	}
	return "something else"
}

// Nearest returns the known key that differs from key by the fewest edits, or "" when none is near.
func Nearest(key string, known []string) string {
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
