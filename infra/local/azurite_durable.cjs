"use strict";
// Loaded before Azurite (node -r): makes it keep what it acknowledged when it is killed.
