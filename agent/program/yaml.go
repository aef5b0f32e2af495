package program

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
)

// ShowYAML writes a value by way of JSON, so that both have the same fields in the same order.
func ShowYAML(to io.Writer, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var ordered any
	if err := yaml.UnmarshalWithOptions(text, &ordered, yaml.UseOrderedMap()); err != nil {
		return err
	}
	return yaml.NewEncoder(to, yaml.CustomMarshaler(yamlString)).Encode(ordered)
}

// yamlString quotes all but the plainest words: the library writes control characters as they are, and takes
// "? a" for plain. Go's escapes are all YAML's, too.
func yamlString(s string) ([]byte, error) {
	plain := func(r rune) bool {
		return r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) || strings.ContainsRune("_./-", r)
	}
	if s == "" || !unicode.IsLetter(rune(s[0])) || strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return []byte(strconv.Quote(s)), nil
	}
	return yaml.Marshal(s)
}
