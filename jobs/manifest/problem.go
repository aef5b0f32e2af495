package manifest

import "idlegrid/jobs/yamlfile"

// Problem is one thing that is wrong with a job.yaml.
type Problem = yamlfile.Problem

// Problems are all that is wrong with a job.yaml, in the order of the file. As an error it is of kind jobs.Invalid.
type Problems = yamlfile.Problems
