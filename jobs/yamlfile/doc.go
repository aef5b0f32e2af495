// Package yamlfile reads the small YAML files that people write for the grid: a job.yaml, an owner's policy,
// a coordinator's limits.
//
// It promises that whoever reads with it can tell all that is wrong at once, each problem with its place and a hint
// where there is one, and that no text makes it panic or work without bound. YAML's anchors, aliases, tags and
// directives are refused: the files are short, and they are how a small file becomes a large one.
//
// It knows no file's keys and opens no file.
package yamlfile
