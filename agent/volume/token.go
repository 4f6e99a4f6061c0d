package volume

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"time"
)

// A token is replaced when four fifths of its life are over, or a day after its issue.
const (
	youngPart = 0.8
	youngMax  = 24 * time.Hour
)

// youngToken says whether a token (JWT, RFC 7519) need not be replaced yet. Its signature is none of our business.
func youngToken(token []byte, now time.Time) bool {
	parts := bytes.Split(token, []byte("."))
	if len(parts) != 3 {
		return false
	}
	body, err := base64.RawURLEncoding.DecodeString(string(parts[1]))
	if err != nil {
		return false
	}
	var claims struct{ Iat, Exp int64 }
	if json.Unmarshal(body, &claims) != nil {
		return false
	}
	life := min(time.Duration(float64(claims.Exp-claims.Iat)*youngPart)*time.Second, youngMax)
	return now.Before(time.Unix(claims.Iat, 0).Add(life))
}
