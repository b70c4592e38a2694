import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  server: {
    // `npm run dev` has the page; the actors are where `python -m examples.chat_react.app` is.
    proxy: { "/api/rivet": { target: "http://127.0.0.1:8000", ws: true } },
  },
});
