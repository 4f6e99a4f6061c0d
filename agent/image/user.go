package image

import (
	"fmt"
	"strings"

	"github.com/moby/sys/user"
)

// ResolveUser turns USER, UID, USER:GROUP or UID:GID into numbers with the image's own /etc/passwd
// and /etc/group; "" means the image's user, and root if it names none. A number need not be listed.
// groups are the supplementary groups that /etc/group gives the user, none if spec names a group.
func (i *Image) ResolveUser(spec string) (uid, gid uint32, groups []uint32, err error) {
	if spec == "" {
		spec = i.User
	}
	passwd, err := i.readFile("/etc/passwd", accountBytesMax)
	if err != nil {
		return 0, 0, nil, fmt.Errorf("resolving user %q: %w", spec, err)
	}
	group, err := i.readFile("/etc/group", accountBytesMax)
	if err != nil {
		return 0, 0, nil, fmt.Errorf("resolving user %q: %w", spec, err)
	}
	u, err := user.GetExecUser(spec, nil, strings.NewReader(passwd), strings.NewReader(group))
	if err != nil {
		return 0, 0, nil, fmt.Errorf("user %q is not in the image's /etc/passwd or /etc/group: use a number or name one that is: %w", spec, err)
	}
	for _, g := range u.Sgids {
		groups = append(groups, uint32(g))
	}
	return uint32(u.Uid), uint32(u.Gid), groups, nil
}
