package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxNesting bounds brackets in brackets, and maxIndent the column of a block's dash or key. The parser
	// is recursive and would exhaust the stack, which no program survives.
	maxNesting = 16
	maxIndent  = 200
	// maxKeys and maxItems bound the keys, and the dashes and commas, in the whole file: the parser's time
	// grows with their square. Nobody writes as many by hand, and a manifest has no room for more.
	maxKeys  = 5000
	maxItems = 20000
)

// Parse returns the one document in text, nil where there is none, or the problem that keeps it from being read. It has
// no recursion and no work beyond what the bounds above allow; the caller bounds the text. what is for messages, such as
// "a job.yaml".
func Parse(text []byte, what string) (body ast.Node, problem *Problem) {
	if at := invalidUTF8(text); at >= 0 {
		line := 1 + bytes.Count(text[:at], []byte("\n"))
		column := 1 + utf8.RuneCount(text[bytes.LastIndexByte(text[:at], '\n')+1:at])
		return nil, &Problem{Line: line, Column: column, Message: "is no UTF-8 text", Hint: "save the file as UTF-8"}
	}
	defer func() { // The library is robust, but its input is anything.
		if p := recover(); p != nil {
			body, problem = nil, &Problem{Message: fmt.Sprintf("cannot be read as YAML: %v", Clip(fmt.Sprint(p)))}
		}
	}()
	tokens := lexer.Tokenize(string(bytes.TrimPrefix(text, []byte("\ufeff"))))
	if problem := checkTokens(tokens, what); problem != nil {
		return nil, problem
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxProblem(err, text)
	}
	return oneDocument(file)
}

func invalidUTF8(text []byte) int {
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return -1
}

const secondDocument = "a second document starts here, expected one a file"

func oneDocument(file *ast.File) (ast.Node, *Problem) {
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType {
			continue
		}
		if body != nil {
			return nil, At(doc.Body, secondDocument)
		}
		body = doc.Body
	}
	return body, nil
}

// checkTokens refuses what our files have no use for and what would make the parser work without bound.
func checkTokens(tokens token.Tokens, what string) *Problem {
	var c tokenCounts
	for _, t := range tokens {
		if message := c.count(t); message != "" {
			return atToken(t, message)
		}
		if problem := refuseToken(t, what); problem != nil {
			return problem
		}
	}
	return nil
}

type tokenCounts struct{ all, nesting, keys, items, ends int }

// count returns what is wrong once there are too many tokens of a kind.
func (c *tokenCounts) count(t *token.Token) string {
	if t.Type == token.CommentType {
		return ""
	}
	c.all++
	switch t.Type {
	case token.SequenceStartType, token.MappingStartType:
		c.nesting++
	case token.SequenceEndType, token.MappingEndType:
		c.nesting = max(0, c.nesting-1)
	case token.SequenceEntryType, token.CollectEntryType:
		c.items++
	case token.MappingValueType:
		c.keys++
	case token.DocumentEndType:
		c.ends++
	}
	switch {
	case c.nesting > maxNesting, c.nesting == 0 && isIndicator(t) && t.Position.Column > maxIndent:
		return "is nested too deep"
	case c.keys > maxKeys:
		return fmt.Sprintf("has more than %d keys", maxKeys)
	case c.items > maxItems:
		return fmt.Sprintf("has more than %d list items", maxItems)
	case t.Type == token.DocumentHeaderType && c.all > 1, c.ends > 2:
		return secondDocument
	}
	return ""
}

// isIndicator reports whether a block may nest at this token.
func isIndicator(t *token.Token) bool {
	return t.Type == token.SequenceEntryType || t.Type == token.MappingValueType
}

func refuseToken(t *token.Token, what string) *Problem {
	var problem *Problem
	switch t.Type {
	case token.AliasType:
		problem = atToken(t, "* starts a YAML alias here, which "+what+" cannot have")
		problem.Hint = `put text that begins with * in quotes: "*.csv"`
	case token.AnchorType:
		problem = atToken(t, "& starts a YAML anchor here, which "+what+" cannot have")
		problem.Hint = "put text that begins with & in quotes, and write a repeated value out"
	case token.TagType:
		problem = atToken(t, "! starts a YAML tag here, which "+what+" cannot have")
		problem.Hint = "put text that begins with ! in quotes"
	case token.MappingKeyType:
		problem = atToken(t, "? starts a YAML key of several lines here, which "+what+" cannot have")
		problem.Hint = "put text that begins with ? in quotes"
	case token.DirectiveType:
		problem = atToken(t, "% starts a YAML directive here, which "+what+" cannot have")
	}
	return problem
}

func syntaxProblem(err error, text []byte) *Problem {
	var e yaml.Error
	if !errors.As(err, &e) || e.GetToken() == nil || e.GetToken().Position == nil {
		return &Problem{Message: "cannot be read as YAML: " + OneLine(err.Error())}
	}
	problem := atToken(e.GetToken(), "cannot be read as YAML: "+OneLine(e.GetMessage()))
	switch line := lineOf(text, problem.Line); {
	case strings.Contains(line, "${"):
		problem.Hint = "put text with ${ in quotes when it stands between [ and ]"
	case strings.Contains(line, "\t"):
		problem.Hint = "YAML is indented by spaces, not tabs"
	}
	return problem
}

func lineOf(text []byte, n int) string {
	lines := bytes.SplitN(text, []byte("\n"), n+1)
	if n < 1 || n > len(lines) {
		return ""
	}
	return string(lines[n-1])
}

// OneLine returns the first line of a message, short enough for one of ours.
func OneLine(s string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return clipTo(first, 300)
}

// atToken returns a problem at a token.
func atToken(t *token.Token, message string) *Problem {
	return &Problem{Line: t.Position.Line, Column: t.Position.Column, Message: message}
}

// At returns a problem at a node.
func At(node ast.Node, message string) *Problem {
	return atToken(tokenOf(node), message)
}

// tokenOf returns where a reader sees the node begin: a block's map at its first key.
func tokenOf(node ast.Node) *token.Token {
	switch n := node.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return node.GetToken()
}
