package service

import (
	"embed"
	"encoding/xml"
	"strings"
	"text/template"
)

//go:embed *.tmpl
var templateFiles embed.FS

// render fills in the template of that name.
func render(name string, values map[string]any) (string, error) {
	escape := func(text string) (string, error) {
		var out strings.Builder
		err := xml.EscapeText(&out, []byte(text))
		return out.String(), err
	}
	name += ".tmpl"
	t, err := template.New(name).Funcs(template.FuncMap{"x": escape}).ParseFS(templateFiles, name)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	err = t.Execute(&out, values)
	return out.String(), err
}
