package program

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// helpWidth is the terminal that everybody has, in columns.
const helpWidth = 80

// FitHelp breaks the lines of what a program's help says to helpWidth. Call it when all commands are there.
func FitHelp(root *cobra.Command) {
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages ", fmt.Sprintf(".FlagUsagesWrapped %d ", helpWidth)))
	wrapLong(root)
}

func wrapLong(cmd *cobra.Command) {
	cmd.Long = wrap(cmd.Long, helpWidth)
	for _, sub := range cmd.Commands() {
		wrapLong(sub)
	}
}

// wrap fills the lines of each paragraph anew. What is indented stays as it is.
func wrap(text string, width int) string {
	var lines []string
	flows := false // whether the last line goes on
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || line[0] == ' ' {
			lines, flows = append(lines, line), false
			continue
		}
		for word := range strings.FieldsSeq(line) {
			if last := len(lines) - 1; flows && len(lines[last])+1+len(word) <= width {
				lines[last] += " " + word
				continue
			}
			lines, flows = append(lines, word), true
		}
	}
	return strings.Join(lines, "\n")
}
