package jobs

// Exit is an error with an exit code of its own. Err may be nil: then everything is said already.
type Exit struct {
	Code int
	Err  error
}

func (e *Exit) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// Unwrap gives the reason.
func (e *Exit) Unwrap() error { return e.Err }

// ExitCode is what the process should end with.
func (e *Exit) ExitCode() int { return e.Code }
