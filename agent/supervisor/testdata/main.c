// The constructor takes over before main, so this is only reached under a name that is no role.
int main(void) { return 2; }
